//! How many replicas share the work of a consumer group.

use std::sync::Arc;

use super::assignment::Assignment;
use super::producer::RecordSink;

/// How many members of a consumer group share a topic, as one member's own assignment tells: the topic's partitions for
/// each partition that it has. Cheap to clone.
#[derive(Clone, Default)]
pub struct GroupSize(Option<Arc<Shared>>);

struct Shared {
    assignment: Assignment,
    sink: RecordSink,
    topic: String,
}

impl std::fmt::Debug for GroupSize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("GroupSize").field(&self.members()).finish()
    }
}

impl GroupSize {
    pub(super) fn new(assignment: Assignment, sink: RecordSink, topic: &str) -> Self {
        Self(Some(Arc::new(Shared { assignment, sink, topic: topic.to_owned() })))
    }

    /// The number of members; 1 where there is no group, and before the first assignment.
    pub fn members(&self) -> u32 {
        let Some(Shared { assignment, sink, topic }) = self.0.as_deref() else { return 1 };
        let Some(assigned) = assignment.assigned() else { return 1 };
        sink.partitions(topic).map_or(1, |partitions| members(partitions, assigned))
    }
}

/// Rounded up, as a group whose size does not divide the partitions has members with one more than others. A member
/// without partitions has at least as many others beside it.
fn members(partitions: u32, assigned: u32) -> u32 {
    match assigned {
        0 => partitions.saturating_add(1),
        assigned => partitions.div_ceil(assigned).max(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_follow_from_the_partitions_of_one() {
        assert_eq!([12, 6, 4, 3, 1].map(|assigned| members(12, assigned)), [1, 2, 3, 4, 12]);
        assert_eq!(members(4, 3), 2, "one of two has more than its share");
        assert_eq!(members(4, 0), 5, "more replicas than partitions");
        assert_eq!(members(4, 9), 1, "the topic has grown, and the count is not known yet");
        assert_eq!(GroupSize::default().members(), 1);
    }
}
