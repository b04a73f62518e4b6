//! Priority lanes: beside its own topic an edge of work may have one for requests of high priority and one for those of
//! low priority.

/// A lane of an edge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// Priorities below 1.
    High,
    /// Priority 1, which is that of a request that names none. Without lanes everything is in this one.
    #[default]
    Normal,
    /// Priorities above 1.
    Low,
}

/// Distance between the numbers of the partitions of two lanes in the origin of a request.
const ORIGIN_STRIDE: u32 = 1 << 24;

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

    /// The topic of this lane of the edge whose topic is `topic`.
    pub fn topic(self, topic: &str) -> String {
        match self {
            Self::Normal => topic.to_owned(),
            Self::High | Self::Low => format!("{topic}.{}", self.name()),
        }
    }

    /// The priority of a request that a client writes to this lane without naming one.
    pub fn priority(self) -> i32 {
        match self {
            Self::High => 0,
            Self::Normal => 1,
            Self::Low => 2,
        }
    }

    /// How many rounds of reading it has, of the sum of all weights, while every lane has a backlog.
    pub fn weight(self) -> u32 {
        match self {
            Self::High => 8,
            Self::Normal => 4,
            Self::Low => 1,
        }
    }

    /// The number of a partition of this lane of the request topic in the origin of a request, unlike that of every other
    /// lane: what a partition has in common (the order of its offsets) does not hold across lanes.
    pub fn origin_partition(self, partition: u32) -> u32 {
        let above = match self {
            Self::Normal => 0,
            Self::High => ORIGIN_STRIDE,
            Self::Low => 2 * ORIGIN_STRIDE,
        };
        above.saturating_add(partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_have_their_lanes() {
        assert_eq!([-8, 0, 1, 2, 9].map(Lane::of_priority).map(Lane::name), ["high", "high", "normal", "low", "low"]);
        for lane in Lane::ALL {
            assert_eq!(Lane::of_priority(lane.priority()), lane);
            assert_eq!(Lane::ALL[lane.index()], lane);
        }
    }

    #[test]
    fn lanes_stand_beside_the_topic() {
        assert_eq!(Lane::ALL.map(|lane| lane.topic("a.b")), ["a.b.high", "a.b", "a.b.low"]);
    }

    #[test]
    fn partitions_of_lanes_are_told_apart() {
        assert_eq!(Lane::ALL.map(|lane| lane.origin_partition(3)), [(1 << 24) + 3, 3, (2 << 24) + 3]);
    }
}
