//! The columns of known tokens.

use std::hash::{BuildHasher, RandomState};

/// No token.
const FREE: u32 = u32::MAX;

/// Tokens and their columns, in little more memory than the tokens have: vocabularies may have millions.
#[derive(Debug, Clone)]
pub struct Vocabulary {
    /// All tokens, one after the other.
    text: String,
    /// Where each ends, and its column.
    tokens: Vec<(u32, u32)>,
    /// The indices of tokens by their hashes; those that collide follow each other.
    slots: Vec<u32>,
    hasher: RandomState,
}

impl Vocabulary {
    /// An empty one for `count` tokens that have `bytes` bytes together.
    pub fn with_capacity(count: usize, bytes: usize) -> Self {
        // a third of the slots at least stays free, so that a look-up ends
        let slots = (count + count / 2 + 1).next_power_of_two();
        Self {
            text: String::with_capacity(bytes),
            tokens: Vec::with_capacity(count),
            slots: vec![FREE; slots],
            hasher: RandomState::new(),
        }
    }

    /// Bytes of [`Vocabulary::with_capacity`].
    pub fn bytes_of(count: usize, bytes: usize) -> usize {
        let slots = (count + count / 2 + 1).next_power_of_two();
        bytes.saturating_add(size_of::<(u32, u32)>() * count).saturating_add(size_of::<u32>() * slots)
    }

    /// The number of tokens.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    fn token(&self, index: u32) -> &str {
        let index = index as usize;
        let start = if index == 0 { 0 } else { self.tokens[index - 1].0 };
        &self.text[start as usize..self.tokens[index].0 as usize]
    }

    /// The slot of a token, which is free if it is unknown.
    fn slot(&self, token: &str) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = self.hasher.hash_one(token) as usize & mask;
        while self.slots[slot] != FREE && self.token(self.slots[slot]) != token {
            slot = (slot + 1) & mask;
        }
        slot
    }

    /// The column of a token.
    pub fn column(&self, token: &str) -> Option<u32> {
        self.tokens.get(self.slots[self.slot(token)] as usize).map(|(_, column)| *column)
    }

    /// Adds a token.
    ///
    /// # Errors
    /// When it is there already, or there are more than there is memory for.
    pub fn insert(&mut self, token: &str, column: u32) -> Result<(), String> {
        let slot = self.slot(token);
        if self.slots[slot] != FREE {
            return Err("is a term twice".to_owned());
        }
        let end = u32::try_from(self.text.len() + token.len()).ok().filter(|_| self.len() < self.tokens.capacity());
        let end = end.ok_or("has too many terms")?;
        self.slots[slot] = self.tokens.len() as u32;
        self.text.push_str(token);
        self.tokens.push((end, column));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_their_columns() {
        let mut words = Vocabulary::with_capacity(1000, 0);
        for i in 0..1000 {
            words.insert(&format!("w{i}"), 999 - i).unwrap();
        }
        assert!((0..1000).all(|i| words.column(&format!("w{i}")) == Some(999 - i)));
        assert_eq!((words.column("w1000"), words.column(""), words.len()), (None, None, 1000));
        assert!(words.insert("w7", 0).is_err());
        let mut one = Vocabulary::with_capacity(1, 0);
        assert_eq!((one.column("a"), one.is_empty()), (None, true));
        one.insert("", 0).unwrap();
        assert_eq!(one.column(""), Some(0));
    }
}
