//! What a commit says beside its offset.

use std::fmt;

use crate::kafka::source::attempts::Attempts;
use crate::kafka::topic_id::ClusterTopic;

/// Written with every committed offset, in the form `start=1764360000000 parts=4 read=1764360012345 topic=01234..`, and
/// while a partition makes no progress with `attempts=3 upto=64 alone=0/1` behind it. Words that are not known are
/// skipped, so builds may differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CommitMetadata {
    /// When the group first read the topic, in milliseconds since the epoch.
    pub(super) group_start_ms: Option<i64>,
    /// The number of partitions that the topic had then.
    pub(super) partitions: Option<i32>,
    /// The latest timestamp of the records read so far, in milliseconds since the epoch.
    pub(super) latest_read_ms: Option<i64>,
    /// The topic that the offset is of, where the broker tells ids.
    pub(super) topic_id: Option<ClusterTopic>,
    /// The starts without progress; none if there is progress.
    pub(super) attempts: Attempts,
}

impl CommitMetadata {
    pub(super) fn parse(text: &str) -> Self {
        let mut metadata = Self::default();
        for (word, value) in text.split_whitespace().filter_map(|pair| pair.split_once('=')) {
            match word {
                "start" => metadata.group_start_ms = value.parse().ok(),
                "parts" => metadata.partitions = value.parse().ok(),
                "topic" => metadata.topic_id = value.parse().ok(),
                "read" => metadata.latest_read_ms = value.parse().ok(),
                _ => metadata.attempts.read(word, value),
            }
        }
        metadata
    }
}

impl fmt::Display for CommitMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: [(&str, Option<&dyn fmt::Display>); 4] = [
            ("start", self.group_start_ms.as_ref().map(|start| start as _)),
            ("parts", self.partitions.as_ref().map(|partitions| partitions as _)),
            ("read", self.latest_read_ms.as_ref().map(|read| read as _)),
            ("topic", self.topic_id.as_ref().map(|id| id as _)),
        ];
        let mut separator = "";
        for (word, value) in words.into_iter().filter_map(|(word, value)| Some((word, value?))) {
            write!(f, "{separator}{word}={value}")?;
            separator = " ";
        }
        match self.attempts.started {
            0 => Ok(()),
            _ => write!(f, "{separator}{}", self.attempts),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::source::attempts::Alone;

    #[test]
    fn what_is_written_is_read_again_and_the_rest_is_skipped() {
        let attempts = Attempts { started: 3, read_up_to: Some(64), alone: Some(Alone { item: 7, started: 2 }) };
        let full = CommitMetadata {
            group_start_ms: Some(17),
            partitions: Some(4),
            latest_read_ms: Some(18),
            topic_id: format!("00000007{:032x}", 0xab).parse().ok(),
            attempts,
        };
        let id = "00000007000000000000000000000000000000ab";
        assert_eq!(full.to_string(), format!("start=17 parts=4 read=18 topic={id} attempts=3 upto=64 alone=7/2"));
        assert_eq!(CommitMetadata::parse(&full.to_string()), full);
        assert_eq!(
            CommitMetadata::parse("colour=3 read=18 start=soon alone=x upto="),
            CommitMetadata { latest_read_ms: Some(18), ..CommitMetadata::default() }
        );
        assert_eq!(CommitMetadata::default().to_string(), "");
        assert_eq!(CommitMetadata::parse(""), CommitMetadata::default());
    }
}
