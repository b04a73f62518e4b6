//! The id that a broker gives a topic when it is created: a topic that was deleted and created again has another one.

use std::fmt;
use std::str::FromStr;

/// 128 bits, shown as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TopicId(u128);

impl TopicId {
    /// The id with these bits, the most significant ones first. Brokers that know no ids send zeros.
    pub(super) fn of_bits((most, least): (i64, i64)) -> Option<Self> {
        let id = (u128::from(most.cast_unsigned()) << 64) | u128::from(least.cast_unsigned());
        (id != 0).then_some(Self(id))
    }
}

/// A topic of one cluster. Positions that a mirror carries to another cluster, with what is committed beside them, are of
/// no topic there that was made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClusterTopic {
    /// The first bytes of a hash of the cluster's id.
    pub(super) cluster: u32,
    pub(super) topic: TopicId,
}

impl ClusterTopic {
    /// Whether the other topic has been made in place of this one.
    pub(super) fn was_replaced_by(self, other: Self) -> bool {
        self.cluster == other.cluster && self.topic != other.topic
    }
}

impl fmt::Display for ClusterTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}{}", self.cluster, self.topic)
    }
}

impl FromStr for ClusterTopic {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (cluster, topic) = text.split_at_checked(8).unwrap_or((text, ""));
        Ok(Self { cluster: u32::from_str_radix(cluster, 16)?, topic: topic.parse()? })
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for TopicId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u128::from_str_radix(text, 16).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_read_again() {
        let id = TopicId::of_bits((-1, 5)).unwrap();
        assert_eq!(id.to_string(), "ffffffffffffffff0000000000000005");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(TopicId::of_bits((0, 0)), None);
        let here = ClusterTopic { cluster: 7, topic: id };
        assert_eq!(here.to_string().parse(), Ok(here));
        let other = TopicId::of_bits((0, 1)).unwrap();
        assert!(here.was_replaced_by(ClusterTopic { topic: other, ..here }));
        assert!(!here.was_replaced_by(ClusterTopic { cluster: 8, topic: other }), "a mirror of it");
        assert!("0123".parse::<ClusterTopic>().is_err() && "é0000000".parse::<ClusterTopic>().is_err());
    }
}
