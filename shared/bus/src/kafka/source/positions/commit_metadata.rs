//! What a commit says beside its offset.

use std::fmt;

/// Written with every committed offset, in the form `start=1764360000000 read=1764360012345`. Words that are not known
/// are skipped, so builds may differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CommitMetadata {
    /// When the group first read the topic, in milliseconds since the epoch.
    pub(super) group_start_ms: Option<i64>,
    /// The latest timestamp of the records read so far, in milliseconds since the epoch.
    pub(super) latest_read_ms: Option<i64>,
}

impl CommitMetadata {
    pub(super) fn parse(text: &str) -> Self {
        let mut metadata = Self::default();
        for (word, value) in text.split_whitespace().filter_map(|pair| pair.split_once('=')) {
            match word {
                "start" => metadata.group_start_ms = value.parse().ok(),
                "read" => metadata.latest_read_ms = value.parse().ok(),
                _ => {}
            }
        }
        metadata
    }
}

impl fmt::Display for CommitMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [("start", self.group_start_ms), ("read", self.latest_read_ms)];
        let mut separator = "";
        for (word, value) in words.into_iter().filter_map(|(word, value)| Some((word, value?))) {
            write!(f, "{separator}{word}={value}")?;
            separator = " ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_the_rest_is_skipped() {
        let full = CommitMetadata { group_start_ms: Some(17), latest_read_ms: Some(18) };
        assert_eq!(full.to_string(), "start=17 read=18");
        assert_eq!(CommitMetadata::parse(&full.to_string()), full);
        assert_eq!(
            CommitMetadata::parse("attempts=3 read=18 start=soon"),
            CommitMetadata { latest_read_ms: Some(18), ..CommitMetadata::default() }
        );
        assert_eq!(CommitMetadata::default().to_string(), "");
        assert_eq!(CommitMetadata::parse(""), CommitMetadata::default());
    }
}
