//! Tells states apart, but not those that differ in names alone.

use super::world::World;
use std::{
    collections::{HashMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
};

/// The digits of a token.
const DIGITS: usize = 32;

impl World {
    /// States with one digest go on alike. The replicas are in the order of what they do, and
    /// tokens have the number of their first place in the text: no step depends on either.
    pub(super) fn digest(&self) -> u64 {
        let mut members: Vec<_> = self.members.iter().map(|member| format!("{member:?}")).collect();
        members.sort_by_cached_key(|member| Tokens::Same.rename(member));
        let mut tokens = Tokens::Numbered(HashMap::new());
        let mut parts: Vec<_> = members.iter().map(|member| tokens.rename(member)).collect();
        let mut store: Vec<_> =
            self.store.entries().iter().map(|entry| tokens.rename(entry)).collect();
        store.sort();
        parts.append(&mut store);
        // A flight that is named nowhere else is never joined.
        let closed = self.closed.iter().map(|token| token.to_string());
        let mut closed: Vec<_> = closed.filter_map(|token| tokens.number_of(&token)).collect();
        closed.sort_unstable();
        closed.dedup();
        let mut hasher = DefaultHasher::new();
        (parts, closed, self.version, self.answered, self.writer, self.faults).hash(&mut hasher);
        hasher.finish()
    }
}

/// What a token is called in a text.
enum Tokens {
    Same,
    Numbered(HashMap<String, usize>),
}

impl Tokens {
    fn rename(&mut self, text: &str) -> String {
        let (mut renamed, mut rest) = (String::with_capacity(text.len()), text);
        while let Some(start) = rest.find(is_digit) {
            let (before, from) = rest.split_at(start);
            let length = from.find(|letter| !is_digit(letter)).unwrap_or(from.len());
            let (digits, after) = from.split_at(length);
            renamed += before;
            // Zeros stand for the mark.
            if length == DIGITS && digits.bytes().any(|digit| digit != b'0') {
                renamed += &self.name_of(digits);
            } else {
                renamed += digits;
            }
            rest = after;
        }
        renamed + rest
    }

    fn name_of(&mut self, token: &str) -> String {
        match self {
            Self::Same => "T".to_owned(),
            Self::Numbered(numbers) => {
                let next = numbers.len();
                format!("T{}", numbers.entry(token.to_owned()).or_insert(next))
            }
        }
    }

    fn number_of(&self, token: &str) -> Option<usize> {
        match self {
            Self::Same => None,
            Self::Numbered(numbers) => numbers.get(token).copied(),
        }
    }
}

fn is_digit(letter: char) -> bool {
    matches!(letter, '0'..='9' | 'a'..='f')
}
