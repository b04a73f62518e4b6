//! A weighted split between versions of a model: `"v3=90, candidate=10"`.

use forebay_contract::SplitKey;

/// Largest number of versions in one split.
const MAX_SHARES: usize = 16;

/// Shares in the order they were written; together they cover every bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrafficSplit {
    shares: Vec<SplitShare>,
}

/// One version, by number, alias or stage, and its buckets: from the end of the share before it up to `below`,
/// exclusive.
#[derive(Debug, Clone, PartialEq, Eq)]
struct SplitShare {
    version: String,
    below: u16,
}

impl TrafficSplit {
    /// Reads versions and weights. Weights are relative: 9 and 1 are 90 and 10. A change of the weights of neighbours
    /// moves only the buckets at the border between them.
    ///
    /// # Errors
    /// What is wrong, as the end of a sentence that begins with the key of the setting.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut weights: Vec<(&str, u64)> = Vec::new();
        for part in text.split(',').map(str::trim) {
            let parsed = part.split_once('=').map(|(version, weight)| (version.trim(), weight.trim()));
            let Some((version, weight)) = parsed.filter(|(version, _)| !version.is_empty()) else {
                return Err(format!("has {part:?}, expected version=weight such as \"v3=90, v2=10\""));
            };
            let weight = weight.strip_suffix('%').unwrap_or(weight).parse::<u32>();
            let Ok(weight) = weight else {
                return Err(format!("has {part:?}, expected a whole number as the weight"));
            };
            if weights.iter().any(|(known, _)| known.eq_ignore_ascii_case(version)) {
                return Err(format!("names {version} twice"));
            }
            weights.push((version, u64::from(weight)));
        }
        let sum: u64 = weights.iter().map(|(_, weight)| weight).sum();
        if sum == 0 || weights.len() > MAX_SHARES {
            return Err(format!("needs 1 to {MAX_SHARES} versions and a weight above 0"));
        }
        let mut so_far = 0;
        let mut share = |(version, weight): (&str, u64)| {
            so_far += weight;
            let below = so_far * u64::from(SplitKey::BUCKETS) / sum;
            SplitShare { version: version.to_owned(), below: below as u16 }
        };
        Ok(Self { shares: weights.into_iter().map(&mut share).collect() })
    }

    /// Each version with the exclusive end of its buckets.
    pub(crate) fn shares(&self) -> impl Iterator<Item = (&str, u16)> {
        self.shares.iter().map(|share| (share.version.as_str(), share.below))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(text: &str) -> Vec<(String, u16)> {
        TrafficSplit::parse(text).unwrap().shares().map(|(version, below)| (version.to_owned(), below)).collect()
    }

    fn owner(text: &str, bucket: u16) -> String {
        ends(text).into_iter().find(|(_, below)| bucket < *below).unwrap().0
    }

    #[test]
    fn weights_become_buckets() {
        assert_eq!(ends("v3=90, v2=10"), [("v3".to_owned(), 9000), ("v2".to_owned(), 10_000)]);
        assert_eq!(ends("candidate = 5%,production=95%")[0], ("candidate".to_owned(), 500));
        assert_eq!(ends("1=1,2=1,3=1").iter().map(|(_, below)| *below).collect::<Vec<_>>(), [3333, 6666, 10_000]);
        assert_eq!(ends("v1=0, v2=7"), [("v1".to_owned(), 0), ("v2".to_owned(), 10_000)]);
    }

    #[test]
    fn a_weight_that_moves_takes_only_its_own_buckets_along() {
        for bucket in 0..SplitKey::BUCKETS {
            let (before, after) = (owner("v3=90, v2=10", bucket), owner("v3=80, v2=20", bucket));
            assert_eq!(before != after, (8000..9000).contains(&bucket), "{bucket}: {before} {after}");
        }
    }

    #[test]
    fn an_invalid_split_is_reported() {
        for (text, what) in [
            ("", "expected version=weight"),
            ("v3", "expected version=weight"),
            ("=5", "expected version=weight"),
            ("v3=many", "whole number"),
            ("v3=-1", "whole number"),
            ("v3=0", "above 0"),
            ("v3=1, V3=2", "names V3 twice"),
        ] {
            let problem = TrafficSplit::parse(text).unwrap_err();
            assert!(problem.contains(what), "{text:?}: {problem}");
        }
    }
}
