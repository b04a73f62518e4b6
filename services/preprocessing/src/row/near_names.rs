//! Names that are probably meant to be the same: within two edits, or different only in case.

use std::str::Chars;

/// Most names of a row that are compared, so that a row of thousands of unknown names costs little.
const MAX_UNKNOWN: usize = 32;
/// Most columns that each of them is compared with.
const MAX_LACKING: usize = 1024;
/// Most edits between two names that are probably meant to be the same.
const MAX_EDITS: usize = 2;

/// The first of `unknown` that is near one of `lacking`, with the latter: two edits or fewer apart, or different only in
/// case.
pub fn near_name<'n>(
    unknown: impl Iterator<Item = &'n str>,
    lacking: impl Iterator<Item = &'n str> + Clone,
) -> Option<(&'n str, &'n str)> {
    unknown
        .take(MAX_UNKNOWN)
        .find_map(|name| lacking.clone().take(MAX_LACKING).find(|column| is_near(name, column)).map(|it| (name, it)))
}

fn is_near(a: &str, b: &str) -> bool {
    // a name of one or two letters is within two edits of every other
    let short = a.chars().count().min(b.chars().count()) <= MAX_EDITS;
    let same_but_case = || a.chars().flat_map(char::to_lowercase).eq(b.chars().flat_map(char::to_lowercase));
    a.len().abs_diff(b.len()) <= 4 * MAX_EDITS && (same_but_case() || (!short && within_edits(a, b)))
}

/// Whether insertions, removals and replacements of at most [`MAX_EDITS`] characters make `a` into `b`.
fn within_edits(a: &str, b: &str) -> bool {
    within(a.chars(), b.chars(), MAX_EDITS)
}

/// As [`within_edits`], for `left` edits. Equal characters at the front are kept, since no other way needs fewer edits. An
/// edit leaves three ways to continue, so that nothing is allocated and at most nine ends of the names are read.
fn within(mut a: Chars<'_>, mut b: Chars<'_>, left: usize) -> bool {
    loop {
        let (mut after_a, mut after_b) = (a.clone(), b.clone());
        match (after_a.next(), after_b.next()) {
            (None, None) => return true,
            (Some(one), Some(other)) if one == other => (a, b) = (after_a, after_b),
            _ if left == 0 => return false,
            (Some(_), Some(_)) => {
                return within(after_a.clone(), after_b.clone(), left - 1)
                    || within(after_a, b, left - 1)
                    || within(a, after_b, left - 1);
            }
            (Some(_), None) => return within(after_a, b, left - 1),
            (None, Some(_)) => return within(a, after_b, left - 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_edits_or_another_case() {
        for (a, b) in [
            ("income", "incmoe"),
            ("income", "Income"),
            ("income", "incomes"),
            ("city", "cty"),
            ("AGE", "age"),
            ("x", "X"),
        ] {
            assert!(is_near(a, b) && is_near(b, a), "{a} {b}");
        }
        for (a, b) in
            [("income", "outcome"), ("age", "wages!"), ("x", "y"), ("s1", "s2"), ("plan", "region"), ("", "abc")]
        {
            assert!(!is_near(a, b) && !is_near(b, a), "{a} {b}");
        }
        assert!(within_edits("kitten", "sittin") && !within_edits("kitten", "sitting"), "two edits and three");
    }

    /// The textbook's table.
    fn distance(a: &[char], b: &[char]) -> usize {
        let mut above: Vec<usize> = (0..=b.len()).collect();
        for (row, letter) in a.iter().enumerate() {
            let mut line = vec![row + 1];
            for (column, other) in b.iter().enumerate() {
                let replaced = above[column] + usize::from(letter != other);
                line.push(replaced.min(above[column + 1] + 1).min(line[column] + 1));
            }
            above = line;
        }
        above[b.len()]
    }

    #[test]
    fn the_distance_is_that_of_the_textbook() {
        let mut words = vec![String::new()];
        for length in 1..=5 {
            let longer: Vec<String> = words.iter().filter(|word| word.chars().count() == length - 1).cloned().collect();
            words.extend(longer.iter().flat_map(|word| ['a', 'é'].map(|letter| format!("{word}{letter}"))));
        }
        assert_eq!(words.len(), 63);
        for a in &words {
            for b in &words {
                let letters = |word: &str| word.chars().collect::<Vec<_>>();
                assert_eq!(within_edits(a, b), distance(&letters(a), &letters(b)) <= MAX_EDITS, "{a} {b}");
            }
        }
    }

    #[test]
    fn the_first_pair_is_found_and_the_effort_is_bounded() {
        let lacking = ["region", "income"];
        let near = |unknown: &[&'static str]| near_name(unknown.iter().copied(), lacking.iter().copied());
        assert_eq!(near(&["zzz", "incom"]), Some(("incom", "income")));
        assert_eq!(near(&["zzz"]), None);
        let mut many = vec!["zzzzzz"; MAX_UNKNOWN];
        many.push("incom");
        assert_eq!(near(&many), None);
    }
}
