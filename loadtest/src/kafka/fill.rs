//! `fill`: puts many requests into the request topic as fast as the broker takes them.

use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::clients::{BrokerArgs, FetchMode, partitions, watermarks};
use super::delivery_recorder::{DeliveryRecorder, DeliveryReports, Destination};
use crate::error::LoadtestError;
use crate::request_generator::RequestGenerator;
use crate::workload::WorkloadArgs;

/// Consecutive requests that go to one partition, so that the client fills large batches.
const STRETCH: u64 = 1000;

/// Fills the request topic with requests, as fast as the broker takes them, and prints the run id that `drain` needs.
#[derive(Debug, Args)]
#[command(after_help = "\
EXAMPLE
  run=$(forebay-loadtest fill --count 500000 --commit-group inference-service)
  forebay-loadtest drain --run $run --count 500000 &
  # start the services, and wait for the drain")]
pub struct FillArgs {
    #[command(flatten)]
    pub(crate) broker: BrokerArgs,
    /// How many requests
    #[arg(long)]
    pub(crate) count: u64,
    /// Request topic
    #[arg(long = "in", default_value = "inference-requests", value_name = "TOPIC")]
    pub(crate) input: String,
    #[command(flatten)]
    pub(crate) workload: WorkloadArgs,
    /// Before filling, commit the end of the topic as this consumer group's position, so that services of the group
    /// which start later begin with the first filled request (a new group would begin behind the last). The group must
    /// have no members
    #[arg(long, value_name = "GROUP")]
    pub(crate) commit_group: Option<String>,
}

impl FillArgs {
    /// Fills, and prints the run id on standard output.
    pub fn run(&self) -> Result<bool, LoadtestError> {
        let requests = self.workload.generator(0)?;
        let recorder = DeliveryRecorder::new(Arc::clone(&requests), self.workload.oracle()?);
        self.fill(&requests, &recorder)?;
        println!("{}", requests.run());
        Ok(recorder.refused() == 0)
    }

    pub(crate) fn fill(
        &self,
        requests: &RequestGenerator,
        recorder: &Arc<DeliveryRecorder>,
    ) -> Result<(), LoadtestError> {
        if let Some(group) = &self.commit_group {
            commit_end(&self.broker, group, &self.input)?;
        }
        let consumer = self.broker.consumer("forebay-loadtest", FetchMode::AtOnce)?;
        let partitions = u64::from(partitions(&consumer, &self.input)?.unsigned_abs());
        let producer = self.broker.producer(5, DeliveryReports(Arc::clone(recorder)))?;
        let start = Instant::now();
        let mut body = Vec::with_capacity(512);
        for index in 0..self.count {
            body.clear();
            requests.write_body(index, &mut body);
            let partition = i32::try_from(index / STRETCH % partitions).ok();
            recorder.produce(&producer, Destination { topic: &self.input, key: None, partition }, index, &body)?;
        }
        recorder.settle(&producer)?;
        let (seconds, accepted) = (start.elapsed().as_secs_f64(), recorder.accepted());
        eprintln!(
            "filled {accepted} requests in {seconds:.1} s, {:.0}/s, refused {}",
            accepted as f64 / seconds,
            recorder.refused()
        );
        Ok(())
    }
}

/// Commits the high watermarks of `topic` for `group`.
pub(crate) fn commit_end(broker: &BrokerArgs, group: &str, topic: &str) -> Result<(), LoadtestError> {
    let consumer = broker.consumer(group, FetchMode::AtOnce)?;
    let what = format!("commit the end of {topic} for group {group}");
    let mut list = TopicPartitionList::new();
    for (partition, _, high) in watermarks(&consumer, topic)? {
        list.add_partition_offset(topic, partition, Offset::Offset(high)).map_err(LoadtestError::kafka(&what))?;
    }
    consumer.commit(&list, CommitMode::Sync).map_err(LoadtestError::kafka(what))
}
