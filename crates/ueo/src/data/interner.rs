//! Texts that come again and again, kept once and numbered.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};

/// Distinct texts by number.
#[derive(Clone, Debug, Default)]
pub(super) struct Interner {
    texts: Vec<Box<str>>,
    index: HashIndex,
}

impl Interner {
    /// The number of a text, a new one if it was not there.
    pub(super) fn number(&mut self, text: &str) -> u32 {
        let texts = &self.texts;
        let next = texts.len() as u32;
        let found = self
            .index
            .find_or_insert(text, next, |number| &*texts[number as usize] == text);
        if found == next {
            self.texts.push(text.into());
        }
        found
    }

    /// The text of a number.
    pub(super) fn text(&self, number: u32) -> &str {
        &self.texts[number as usize]
    }
}

/// Numbers of texts that somebody else keeps, 13 to 26 bytes each.
#[derive(Clone, Debug, Default)]
pub(super) struct HashIndex {
    hasher: RandomState,
    numbers: HashMap<u64, u32>,
}

impl HashIndex {
    /// The number that is kept for a text, else `next`, which is then kept; `is_it` compares the text of a number.
    pub(super) fn find_or_insert(
        &mut self,
        text: &str,
        next: u32,
        is_it: impl Fn(u32) -> bool,
    ) -> u32 {
        let mut hash = self.hasher.hash_one(text);
        loop {
            match self.numbers.entry(hash) {
                Entry::Vacant(place) => return *place.insert(next),
                Entry::Occupied(found) if is_it(*found.get()) => return *found.get(),
                // Another text with this hash: the next place is its own.
                Entry::Occupied(_) => hash = hash.wrapping_add(1),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_one_number_each() {
        let mut interner = Interner::default();
        let numbers = ["a", "b", "a", "", "b"].map(|text| interner.number(text));
        assert_eq!(numbers, [0, 1, 0, 2, 1]);
        assert_eq!(
            [0, 1, 2].map(|number| interner.text(number)),
            ["a", "b", ""]
        );
    }

    #[test]
    fn texts_of_one_hash_are_told_apart() {
        let mut index = HashIndex::default();
        assert_eq!(index.find_or_insert("a", 0, |_| false), 0);
        // What says of no number that it is its text finds a place behind every other.
        assert_eq!(index.find_or_insert("a", 1, |_| false), 1);
        assert_eq!(index.find_or_insert("a", 2, |number| number == 1), 1);
    }
}
