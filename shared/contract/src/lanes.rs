//! The classes of priority.

/// Requests of one class of priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// Priorities below 1.
    High,
    /// Priority 1, which is that of a request that names none.
    #[default]
    Normal,
    /// Priorities above 1.
    Low,
}

impl Lane {
    /// All lanes, the most urgent one first. Their places are their indexes.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// The lane of a priority; lower numbers go first.
    pub fn of_priority(priority: i32) -> Self {
        match priority {
            ..=0 => Self::High,
            1 => Self::Normal,
            _ => Self::Low,
        }
    }

    /// The place in [`Lane::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// Its name, as a label of metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_have_their_lanes() {
        assert_eq!([-8, 0, 1, 2, 9].map(Lane::of_priority).map(Lane::name), ["high", "high", "normal", "low", "low"]);
        assert_eq!(Lane::ALL.map(Lane::index), [0, 1, 2]);
    }
}
