//! Where a replica of the stage is in the mesh.

use std::time::Duration;

use forebay_bus::kafka::{GroupSize, IntakePace};
use forebay_contract::HttpOrigin;

/// Where the stage is in the mesh.
#[derive(Clone, Debug)]
pub struct StagePlacement {
    /// Number of partitions of the inner topics; 1 on memory edges.
    pub partitions: u32,
    /// Interval between two batches under load; zero on memory edges, where a record costs nothing.
    pub batch_interval: Duration,
    /// The replicas that share that rate.
    pub group: GroupSize,
    /// When requests are taken from Kafka.
    pub pace: IntakePace,
    /// Whether no other replica of the stage can be asked for what this one knows.
    pub alone: bool,
    /// This replica's instance number and its partition of the replies topic.
    pub origin: HttpOrigin,
}

impl StagePlacement {
    /// In the same process as the stages after it.
    pub fn memory() -> Self {
        Self { alone: true, ..Self::replica(1, Duration::ZERO) }
    }

    /// A separate replica with a random instance number, whose replies arrive on one of `partitions`.
    pub fn replica(partitions: u32, batch_interval: Duration) -> Self {
        let (instance, partitions) = (rand::random::<u64>(), partitions.max(1));
        let reply_partition = (instance % u64::from(partitions)) as u32;
        let origin = HttpOrigin { instance, reply_partition };
        let (group, pace) = (GroupSize::default(), IntakePace::default());
        Self { partitions, batch_interval, group, pace, alone: false, origin }
    }
}
