//! The tokens of a document: words, or groups of characters, and groups of words.

use std::collections::HashSet;

use super::characters::{is_space, is_word, lower, strip_accents, to_ascii};
use super::pattern::Pattern;

/// What happens to accents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accents {
    Keep,
    Strip,
    Ascii,
}

/// What a token is.
#[derive(Debug, Clone)]
pub enum Analyzer {
    /// Every longest run of at least this many word characters.
    Runs(usize),
    /// Every match of a pattern.
    Matches(Pattern),
    /// Groups of characters.
    Characters,
    /// Groups of characters inside words.
    CharactersInWords,
}

/// How a document becomes tokens.
#[derive(Debug, Clone)]
pub struct Tokens {
    pub lowercase: bool,
    pub accents: Accents,
    pub analyzer: Analyzer,
    pub stop_words: HashSet<Box<str>>,
    /// The lowest and highest number of words or characters in a token.
    pub groups: (usize, usize),
}

impl Tokens {
    /// Calls `f` with every token of a document.
    pub fn each(&self, document: &str, f: &mut impl FnMut(&str)) {
        let mut text = std::borrow::Cow::Borrowed(document);
        if self.lowercase {
            text = lower(&text).into();
        }
        match self.accents {
            Accents::Keep => {}
            Accents::Strip => text = strip_accents(&text).into(),
            Accents::Ascii => text = to_ascii(&text).into(),
        }
        match &self.analyzer {
            Analyzer::Runs(shortest) => self.words(runs(&text, *shortest), f),
            Analyzer::Matches(pattern) => {
                let mut words = Vec::new();
                pattern.find_all(&text, |word| words.push(word));
                self.words(words.into_iter(), f);
            }
            Analyzer::Characters => self.characters(&squeezed(&text), f),
            Analyzer::CharactersInWords => self.inside_words(&text, f),
        }
    }

    fn words<'t>(&self, words: impl Iterator<Item = &'t str>, f: &mut impl FnMut(&str)) {
        let kept = words.filter(|word| self.stop_words.is_empty() || !self.stop_words.contains(*word));
        let (low, high) = self.groups;
        if (low, high) == (1, 1) {
            return kept.for_each(f);
        }
        let words: Vec<&str> = kept.collect();
        let mut joined = String::new();
        for count in low..=high.min(words.len()) {
            for group in words.windows(count.max(1)) {
                joined.clear();
                for (i, word) in group.iter().enumerate() {
                    if i > 0 {
                        joined.push(' ');
                    }
                    joined.push_str(word);
                }
                f(&joined);
            }
        }
    }

    fn characters(&self, text: &str, f: &mut impl FnMut(&str)) {
        let mut places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
        places.push(text.len());
        let length = places.len() - 1;
        for count in self.groups.0..=self.groups.1.min(length) {
            (0..=length - count).for_each(|first| f(&text[places[first]..places[first + count]]));
        }
    }

    fn inside_words(&self, text: &str, f: &mut impl FnMut(&str)) {
        let mut padded = String::new();
        for word in text.split(is_space).filter(|word| !word.is_empty()) {
            padded.clear();
            padded.push(' ');
            padded.push_str(word);
            padded.push(' ');
            let mut places: Vec<usize> = padded.char_indices().map(|(at, _)| at).collect();
            places.push(padded.len());
            let length = places.len() - 1;
            for count in self.groups.0..=self.groups.1 {
                if count >= length {
                    // a short word counts once
                    f(&padded);
                    break;
                }
                (0..=length - count).for_each(|first| f(&padded[places[first]..places[first + count]]));
            }
        }
    }
}

/// The longest runs of word characters that have at least `shortest`.
fn runs(text: &str, shortest: usize) -> impl Iterator<Item = &str> {
    text.split(|c| !is_word(c)).filter(move |run| {
        let enough = run.len() >= shortest;
        enough && (run.is_ascii() || run.chars().nth(shortest - 1).is_some())
    })
}

/// Every group of two or more white-space characters becomes a space.
fn squeezed(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if is_space(c) && chars.peek().copied().is_some_and(is_space) {
            while chars.next_if(|c| is_space(*c)).is_some() {}
            out.push(' ');
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(analyzer: Analyzer, groups: (usize, usize), text: &str) -> Vec<String> {
        let stop_words = ["the".into()].into();
        let tokens = Tokens { lowercase: true, accents: Accents::Keep, analyzer, stop_words, groups };
        let mut out = Vec::new();
        tokens.each(text, &mut |token| out.push(token.to_owned()));
        out
    }

    #[test]
    fn groups_of_words_and_characters() {
        assert_eq!(tokens(Analyzer::Runs(2), (1, 2), "The Cat, a dog"), ["cat", "dog", "cat dog"]);
        assert_eq!(tokens(Analyzer::Characters, (2, 3), "a \t b"), ["a ", " b", "a b"]);
        assert_eq!(tokens(Analyzer::CharactersInWords, (3, 4), "ab c"), [" ab", "ab ", " ab ", " c "]);
    }
}
