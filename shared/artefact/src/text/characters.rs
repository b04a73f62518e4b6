//! Characters as Python's `str` and `re` see them.

use icu_normalizer::DecomposingNormalizerBorrowed;
use icu_normalizer::properties::CanonicalCombiningClassMapBorrowed;

use super::ranges::{DIGIT, WORD};

/// Letters that Unicode gave a lower case after version 14, which Python 3.11 leaves as they are.
const WITHOUT_LOWER: &[(u32, u32)] = &[
    (0x1C89, 0x1C89),
    (0xA7CB, 0xA7CC),
    (0xA7CE, 0xA7CE),
    (0xA7D2, 0xA7D2),
    (0xA7D4, 0xA7D4),
    (0xA7DA, 0xA7DA),
    (0xA7DC, 0xA7DC),
    (0x10D50, 0x10D65),
    (0x16EA0, 0x16EB8),
];

/// Characters that Unicode made decomposable or combining after version 14; Python 3.11 leaves them as they are.
#[rustfmt::skip]
const NEWER: &[(u32, u32)] = &[
    (0x558, 0x558), (0x58B, 0x58C), (0x5C8, 0x5C9), (0x897, 0x897), (0x1ACF, 0x1AF0), (0x209D, 0x209F),
    (0xA7F1, 0xA7F1), (0x105C9, 0x105C9), (0x105E4, 0x105E4), (0x107BB, 0x107BF), (0x10D69, 0x10D6D),
    (0x10ECB, 0x10ECF), (0x10EF0, 0x10EFB), (0x10EFD, 0x10EFF), (0x11383, 0x11383), (0x11385, 0x11385),
    (0x1138E, 0x1138E), (0x11391, 0x11391), (0x113C5, 0x113C5), (0x113C7, 0x113C8), (0x113CE, 0x113D0),
    (0x11F41, 0x11F42), (0x16121, 0x16128), (0x1612F, 0x1612F), (0x16D68, 0x16D6A), (0x1B123, 0x1B126),
    (0x1CCD6, 0x1CCF9), (0x1D127, 0x1D128), (0x1D250, 0x1D252), (0x1D25B, 0x1D25C), (0x1D25F, 0x1D25F),
    (0x1D280, 0x1D281), (0x1D6A6, 0x1D6A6), (0x1DF95, 0x1DF95), (0x1DFCD, 0x1DFFF), (0x1E030, 0x1E06D),
    (0x1E08F, 0x1E08F), (0x1E4EC, 0x1E4EF), (0x1E5EE, 0x1E5EF), (0x1E6E3, 0x1E6E3), (0x1E6E6, 0x1E6E6),
    (0x1E6EE, 0x1E6EF), (0x1E6F5, 0x1E6F5),
];

fn within(ranges: &[(u32, u32)], c: char) -> bool {
    let c = u32::from(c);
    let at = ranges.partition_point(|(_, last)| *last < c);
    ranges.get(at).is_some_and(|(first, _)| *first <= c)
}

/// Whether `\w` matches.
pub fn is_word(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphanumeric() || c == '_';
    }
    within(WORD, c)
}

/// Whether `\d` matches.
pub fn is_digit(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_digit() } else { within(DIGIT, c) }
}

/// Whether `\s` matches, as `str.isspace`.
pub fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// `str.lower`.
pub fn lower(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    if !text.chars().any(|c| within(WITHOUT_LOWER, c)) {
        return text.to_lowercase();
    }
    // such letters are kept; what is between them is lowered by itself
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(|c| within(WITHOUT_LOWER, c)) {
        out.push_str(&rest[..at].to_lowercase());
        let width = rest[at..].chars().next().map_or(1, char::len_utf8);
        out.push_str(&rest[at..at + width]);
        rest = &rest[at + width..];
    }
    out.push_str(&rest.to_lowercase());
    out
}

/// The characters of the compatibility decomposition, in pieces.
fn decomposed(text: &str, mut f: impl FnMut(&str)) {
    let nfkd = DecomposingNormalizerBorrowed::new_nfkd();
    for piece in text.split_inclusive(|c| within(NEWER, c)) {
        let end = piece.char_indices().next_back().filter(|(_, c)| within(NEWER, *c)).map_or(piece.len(), |(at, _)| at);
        f(&nfkd.normalize(&piece[..end]));
        f(&piece[end..]);
    }
}

/// scikit-learn's `strip_accents_unicode`: the compatibility decomposition without combining characters.
pub fn strip_accents(text: &str) -> String {
    if text.is_ascii() {
        return text.to_owned();
    }
    let classes = CanonicalCombiningClassMapBorrowed::new();
    let mut out = String::with_capacity(text.len());
    let stays = |c: &char| classes.get_u8(*c) == 0 || within(NEWER, *c);
    decomposed(text, |piece| out.extend(piece.chars().filter(stays)));
    out
}

/// scikit-learn's `strip_accents_ascii`: the ASCII characters of the compatibility decomposition.
pub fn to_ascii(text: &str) -> String {
    if text.is_ascii() {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    decomposed(text, |piece| out.extend(piece.chars().filter(char::is_ascii)));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FNV-1a over a line per code point: word, digit, space, lower, without accents, ASCII.
    fn fingerprint() -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for c in (0..=0x0010_FFFF).filter_map(char::from_u32) {
            let text = c.to_string();
            let flags = [is_word(c), is_digit(c), is_space(c)].map(|f| if f { '1' } else { '0' });
            let line = format!(
                "{:x} {}{}{} {}|{}|{}\n",
                u32::from(c),
                flags[0],
                flags[1],
                flags[2],
                lower(&text),
                strip_accents(&text),
                to_ascii(&text)
            );
            for byte in line.bytes() {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
        hash
    }

    #[test]
    fn every_code_point_is_as_in_python() {
        // printed by loadtest/suites/python_characters.py
        assert_eq!(format!("{:016x}", fingerprint()), "4bcdd610998e4ae1");
    }

    #[test]
    fn a_final_sigma_has_its_own_lower_case() {
        assert_eq!(lower("ΟΔΟΣ ΣΑΣ"), "οδος σας");
        assert_eq!(lower("A\u{1C89}ΟΣ"), "a\u{1C89}ος");
        assert_eq!((strip_accents("Łódź ﬁ"), to_ascii("Łódź ﬁ")), ("Łodz fi".to_owned(), "odz fi".to_owned()));
    }
}
