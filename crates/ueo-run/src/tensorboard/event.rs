//! The part of the `Event` message that scalars need, in protocol buffers' wire format.

/// What an event file begins with (`file_version` of its first event).
const FILE_VERSION: &str = "brain.Event:2";

/// A moment of a run, with scalars by tag.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Event {
    /// Seconds since 1970.
    pub wall_time: f64,
    /// Step of the run.
    pub step: u64,
    /// Set in the first event of a file only.
    pub file_version: Option<String>,
    /// Values by tag, in order.
    pub scalars: Vec<(String, f32)>,
}

// Field numbers of event.proto and summary.proto, and the wire types.
const WALL_TIME: u64 = 1;
const STEP: u64 = 2;
const VERSION: u64 = 3;
const SUMMARY: u64 = 5;
const SUMMARY_VALUE: u64 = 1;
const VALUE_TAG: u64 = 1;
const VALUE_SIMPLE: u64 = 2;
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const DELIMITED: u64 = 2;
const FIXED32: u64 = 5;

impl Event {
    /// The first event of a file.
    pub fn version(wall_time: f64) -> Self {
        Self {
            wall_time,
            file_version: Some(FILE_VERSION.to_owned()),
            ..Self::default()
        }
    }

    /// Whether it has scalars and their tags begin with `prefix/`.
    pub fn is_of(&self, prefix: &str) -> bool {
        let tag = self.scalars.first().map(|(tag, _)| tag.as_str());
        tag.and_then(|tag| tag.strip_prefix(prefix))
            .is_some_and(|rest| rest.starts_with('/'))
    }

    /// The message's bytes, fields in ascending order, zeros left out as in proto3.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut event = Vec::new();
        if self.wall_time != 0.0 {
            key(&mut event, WALL_TIME, FIXED64);
            event.extend(self.wall_time.to_le_bytes());
        }
        if self.step != 0 {
            key(&mut event, STEP, VARINT);
            varint(&mut event, self.step);
        }
        if let Some(version) = &self.file_version {
            delimited(&mut event, VERSION, version.as_bytes());
        }
        if !self.scalars.is_empty() {
            let mut summary = Vec::new();
            for (tag, value) in &self.scalars {
                let mut entry = Vec::new();
                delimited(&mut entry, VALUE_TAG, tag.as_bytes());
                key(&mut entry, VALUE_SIMPLE, FIXED32);
                entry.extend(value.to_le_bytes());
                delimited(&mut summary, SUMMARY_VALUE, &entry);
            }
            delimited(&mut event, SUMMARY, &summary);
        }
        event
    }

    /// The inverse of [`Self::encode`]; fields that it does not know are skipped. `None` for bytes that are no message.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut event = Self::default();
        for_each_field(bytes, |field, value| {
            match (field, value) {
                (WALL_TIME, Field::Fixed64(bits)) => event.wall_time = f64::from_le_bytes(bits),
                (STEP, Field::Varint(step)) => event.step = step,
                (VERSION, Field::Delimited(text)) => {
                    event.file_version = Some(String::from_utf8(text.to_vec()).ok()?);
                }
                (SUMMARY, Field::Delimited(summary)) => {
                    for_each_field(summary, |field, value| {
                        if let (SUMMARY_VALUE, Field::Delimited(entry)) = (field, value) {
                            event.scalars.push(decode_scalar(entry)?);
                        }
                        Some(())
                    })?;
                }
                _ => {}
            }
            Some(())
        })?;
        Some(event)
    }
}

fn decode_scalar(bytes: &[u8]) -> Option<(String, f32)> {
    let (mut tag, mut scalar) = (None, None);
    for_each_field(bytes, |field, value| {
        match (field, value) {
            (VALUE_TAG, Field::Delimited(text)) => {
                tag = Some(String::from_utf8(text.to_vec()).ok()?);
            }
            (VALUE_SIMPLE, Field::Fixed32(bits)) => scalar = Some(f32::from_le_bytes(bits)),
            _ => {}
        }
        Some(())
    })?;
    Some((tag?, scalar?))
}

fn key(bytes: &mut Vec<u8>, field: u64, wire_type: u64) {
    varint(bytes, field << 3 | wire_type);
}

/// Seven bits per byte, the lowest first; the highest bit says that more follow.
fn varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn delimited(bytes: &mut Vec<u8>, field: u64, content: &[u8]) {
    key(bytes, field, DELIMITED);
    varint(bytes, content.len() as u64);
    bytes.extend(content);
}

/// A field's value by its wire type.
enum Field<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Delimited(&'a [u8]),
    Fixed32([u8; 4]),
}

fn for_each_field(mut bytes: &[u8], mut visit: impl FnMut(u64, Field) -> Option<()>) -> Option<()> {
    while !bytes.is_empty() {
        let (key, rest) = split_varint(bytes)?;
        let (value, rest) = match key & 7 {
            VARINT => split_varint(rest).map(|(value, rest)| (Field::Varint(value), rest))?,
            FIXED64 => {
                let (bits, rest) = rest.split_first_chunk()?;
                (Field::Fixed64(*bits), rest)
            }
            DELIMITED => {
                let (length, rest) = split_varint(rest)?;
                let (content, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
                (Field::Delimited(content), rest)
            }
            FIXED32 => {
                let (bits, rest) = rest.split_first_chunk()?;
                (Field::Fixed32(*bits), rest)
            }
            _ => return None,
        };
        visit(key >> 3, value)?;
        bytes = rest;
    }
    Some(())
}

fn split_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (position, &byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * position as u32);
        if byte < 0x80 {
            return Some((value, &bytes[position + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_back() {
        let events = [
            Event::version(1_700_000_000.25),
            Event {
                wall_time: 1.5,
                step: 300,
                file_version: None,
                scalars: vec![("step/loss".to_owned(), -0.25), ("é".to_owned(), 0.0)],
            },
            Event::default(),
        ];
        for event in events {
            assert_eq!(Event::decode(&event.encode()), Some(event));
        }
        assert_eq!(Event::decode(&[0x09, 1, 2]), None, "cut off");
        assert_eq!(Event::decode(&[0x0b]), None, "a group");
    }
}
