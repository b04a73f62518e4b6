//! Which whole numbers are floats: `1.0`, and not `1`. Columns of text tell them apart.

/// The indexes of the floats among the whole numbers of a tensor or a row. Numbers with a fraction may be among them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum WholeFloats {
    #[default]
    None,
    /// One bit for each index; none beyond the last word.
    Some(Vec<u64>),
    All,
}

impl WholeFloats {
    pub(crate) fn contains(&self, index: usize) -> bool {
        match self {
            Self::None => false,
            Self::Some(words) => words.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1),
            Self::All => true,
        }
    }

    pub(crate) fn insert(&mut self, index: usize) {
        if *self == Self::None {
            *self = Self::Some(Vec::new());
        }
        if let Self::Some(words) = self {
            if words.len() <= index / 64 {
                words.resize(index / 64 + 1, 0);
            }
            words[index / 64] |= 1 << (index % 64);
        }
    }

    /// One bit for each of the `width` indexes from `start` on, as [`crate::request::Row`] has them: up to 128.
    pub(crate) fn of_row(&self, start: usize, width: usize) -> u128 {
        match self {
            Self::None => 0,
            Self::Some(_) => {
                (0..width.min(128)).filter(|at| self.contains(start + at)).fold(0, |bits, at| bits | 1 << at)
            }
            Self::All => u128::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_its_own_bits() {
        let mut floats = WholeFloats::None;
        floats.insert(3);
        floats.insert(200);
        assert_eq!((floats.of_row(0, 4), floats.of_row(3, 1), floats.of_row(4, 4)), (0b1000, 1, 0));
        assert_eq!((floats.of_row(199, 2), floats.of_row(0, 1000)), (0b10, 0b1000));
        assert!(floats.contains(200) && !floats.contains(201) && !floats.contains(1 << 40));
        assert_eq!((WholeFloats::All.of_row(9, 2) & 3, WholeFloats::None.of_row(0, 2)), (3, 0));
    }
}
