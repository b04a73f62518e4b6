//! Names that are probably meant to be the same: within two edits, or different only in case.

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

/// Whether insertions, removals and replacements of at most [`MAX_EDITS`] characters make `a` into `b`. Only the
/// diagonals that can matter are computed.
fn within_edits(a: &str, b: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > MAX_EDITS {
        return false;
    }
    const FAR: usize = MAX_EDITS + 1;
    let mut above: Vec<usize> = (0..=b.len()).map(|column| column.min(FAR)).collect();
    for (row, letter) in a.iter().enumerate() {
        let (first, last) = ((row + 1).saturating_sub(MAX_EDITS), (row + 1 + MAX_EDITS).min(b.len()));
        let mut line = vec![FAR; b.len() + 1];
        for column in first..=last {
            line[column] = match column {
                0 => (row + 1).min(FAR),
                _ => {
                    let replaced = above[column - 1] + usize::from(*letter != b[column - 1]);
                    replaced.min(above[column] + 1).min(line[column - 1] + 1).min(FAR)
                }
            };
        }
        above = line;
    }
    above[b.len()] <= MAX_EDITS
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
