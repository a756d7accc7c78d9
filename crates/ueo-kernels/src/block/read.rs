//! Which rows of a block's output anything depends on. Every further block attends to all tokens of the one before; behind the last
//! block one token of each sequence is read, so its queries, its output projection and its perceptron run for that token only.

use super::group::Group;
use std::ops::Range;

/// Which token of each sequence is read behind the last block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadToken {
    /// The class token of the vision transformer.
    First,
    /// `[EOS]` in the text tower, the only token that sees all others.
    Last,
    /// All of them: an attention pooling head follows.
    All,
}

/// The tokens of each sequence that are read behind one block.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// Another block follows, or something else that looks at all of them.
    All,
    /// The first token is the stack's output.
    First,
    /// The last token is the stack's output.
    Last,
    /// A shared prefix leaves nothing but keys and values in the last block.
    Nothing,
}

/// The rows of one sequence, counted from the first of its group.
pub(super) struct SequenceRows {
    /// All of its tokens.
    pub tokens: Range<usize>,
    /// Those that are read, among `tokens`.
    pub read: Range<usize>,
    /// Where these lie once the rows that are read have been moved together.
    pub gathered: Range<usize>,
}

impl From<ReadToken> for Read {
    fn from(token: ReadToken) -> Self {
        match token {
            ReadToken::All => Self::All,
            ReadToken::First => Self::First,
            ReadToken::Last => Self::Last,
        }
    }
}

impl Read {
    /// The rows that are read of all sequences of a group together.
    pub fn rows(self, group: Group<'_>) -> usize {
        match self {
            Self::All => group.rows(),
            Self::First | Self::Last => group.sequences().len(),
            Self::Nothing => 0,
        }
    }

    pub fn sequences(self, group: Group<'_>) -> impl DoubleEndedIterator<Item = SequenceRows> {
        group.sequences().enumerate().map(move |(index, tokens)| {
            let (read, gathered) = match self {
                Self::All => (tokens.clone(), tokens.clone()),
                Self::First => (tokens.start..tokens.start + 1, index..index + 1),
                Self::Last => (tokens.end - 1..tokens.end, index..index + 1),
                Self::Nothing => (tokens.start..tokens.start, 0..0),
            };
            SequenceRows {
                tokens,
                read,
                gathered,
            }
        })
    }

    /// Moves the rows that are read together, to the front of `values` `[rows, width]`; what lies behind them is of no use any more.
    pub fn gather<T: Copy>(self, group: Group<'_>, width: usize, values: &mut [T]) {
        if self == Self::All {
            return;
        }
        // First to last: a row moves forward, onto rows that have moved already or are not read.
        for SequenceRows { read, gathered, .. } in self.sequences(group) {
            values.copy_within(read.start * width..read.end * width, gathered.start * width);
        }
    }

    /// The inverse of [`Read::gather`]: moves rows back to their places in `values` `[rows, width]` and fills all others with zeros.
    pub fn scatter(self, group: Group<'_>, width: usize, values: &mut [f32]) {
        if self == Self::All {
            return;
        }
        // Last to first: a sequence begins no earlier than its gathered row, so those still to be moved lie before it.
        for SequenceRows {
            tokens,
            read,
            gathered,
        } in self.sequences(group).rev()
        {
            values.copy_within(
                gathered.start * width..gathered.end * width,
                read.start * width,
            );
            values[tokens.start * width..read.start * width].fill(0.0);
            values[read.end * width..tokens.end * width].fill(0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_moved_together_and_back() {
        // Sequences of one, one, three, one and two tokens, of a batch in which two others come before.
        let group = Group {
            offsets: &[2, 3, 4, 7, 8, 10],
        };
        let all = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0].map(|value| [value, -value]);
        for (read, gathered, scattered) in [
            (Read::All, &all.as_flattened()[..2 * 8], all),
            (
                Read::First,
                &[1.0, -1.0, 2.0, -2.0, 3.0, -3.0, 6.0, -6.0, 7.0, -7.0],
                [1.0, 2.0, 3.0, 0.0, 0.0, 6.0, 7.0, 0.0].map(|value| [value, -value]),
            ),
            (
                Read::Last,
                &[1.0, -1.0, 2.0, -2.0, 5.0, -5.0, 6.0, -6.0, 8.0, -8.0],
                [1.0, 2.0, 0.0, 0.0, 5.0, 6.0, 0.0, 8.0].map(|value| [value, -value]),
            ),
            (Read::Nothing, &[], [[0.0, 0.0]; 8]),
        ] {
            let mut values = all.as_flattened().to_vec();
            read.gather(group, 2, &mut values);
            assert_eq!(read.rows(group) * 2, gathered.len());
            assert_eq!(&values[..gathered.len()], gathered);
            read.scatter(group, 2, &mut values);
            assert_eq!(values, scattered.as_flattened());
        }
    }
}
