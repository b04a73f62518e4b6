//! The set of a split by membership.

/// The highest number in a set of bits.
const MAX_BIT: f64 = (1 << 24) as f64;

/// Numbers, in whichever form takes less memory.
#[derive(Debug, Clone)]
pub(super) enum Set {
    /// Bit `v % 32` of word `v / 32` is whether `v` is a member.
    Bits(Box<[u32]>),
    /// Sorted, without NaN and negative zero.
    Sorted(Box<[f64]>),
}

impl Set {
    /// The set of these numbers but NaN; both zeros are one.
    pub(super) fn of(numbers: impl Iterator<Item = f64>) -> Self {
        // a list that grows would take up to three times as much
        let mut members = Vec::with_capacity(numbers.size_hint().1.unwrap_or(0));
        members.extend(numbers.filter(|v| !v.is_nan()).map(|v| v + 0.0));
        members.sort_unstable_by(f64::total_cmp);
        members.dedup();
        let whole = members.iter().all(|v| v.fract() == 0.0 && (0.0..MAX_BIT).contains(v));
        let words = members.last().filter(|_| whole).map(|last| *last as usize / 32 + 1);
        match words.filter(|words| words * size_of::<u32>() <= members.len() * size_of::<f64>()) {
            Some(words) => {
                let mut bits = vec![0u32; words];
                members.iter().for_each(|v| bits[*v as usize / 32] |= 1 << (*v as usize % 32));
                Self::Bits(bits.into())
            }
            None => Self::Sorted(members.into()),
        }
    }

    /// Whether a number, which is not NaN, is a member.
    pub(super) fn contains(&self, x: f64) -> bool {
        match self {
            Self::Bits(words) => {
                let word = (x >= 0.0 && x.fract() == 0.0).then(|| words.get(x as usize / 32)).flatten();
                word.is_some_and(|word| word >> (x as usize % 32) & 1 == 1)
            }
            Self::Sorted(members) => members.binary_search_by(|v| v.total_cmp(&(x + 0.0))).is_ok(),
        }
    }

    /// The members in ascending order.
    pub(super) fn members(&self) -> Vec<f64> {
        match self {
            Self::Bits(words) => {
                let is_member = |v: &usize| words[v / 32] >> (v % 32) & 1 == 1;
                (0..32 * words.len()).filter(is_member).map(|v| v as f64).collect()
            }
            Self::Sorted(members) => members.to_vec(),
        }
    }

    /// The number of members.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Bits(words) => words.iter().map(|word| word.count_ones() as usize).sum(),
            Self::Sorted(members) => members.len(),
        }
    }

    /// Bytes that the set takes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Bits(words) => size_of_val(&**words),
                Self::Sorted(members) => size_of_val(&**members),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_have_the_same_members() {
        let bits = Set::of([3.0, -0.0, 40.0, 3.0, f64::NAN].into_iter());
        assert!(matches!(bits, Set::Bits(_)));
        assert_eq!((bits.members(), bits.len()), (vec![0.0, 3.0, 40.0], 3));
        let sorted = [Set::of([0.5, -1.0].into_iter()), Set::of([7e9, 1.0].into_iter()), Set::of(std::iter::empty())];
        assert!(sorted.iter().all(|set| matches!(set, Set::Sorted(_))));
        for set in [&bits, &sorted[0], &sorted[1], &sorted[2]] {
            let members = set.members();
            for x in [-1.0, -0.0, 0.0, 0.5, 1.0, 3.0, 31.0, 40.0, 40.5, 41.0, 64.0, 7e9, 1e300, f64::INFINITY] {
                assert_eq!(set.contains(x), members.contains(&x), "{x} in {members:?}");
            }
        }
    }
}
