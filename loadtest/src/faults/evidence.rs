//! What is known of a row that was run, and its verdict, which can be given again later.

use std::sync::Arc;
use std::time::Duration;

use super::load::{ConstantLoad, take_all_replies};
use super::process_watch::ProcessTrends;
use super::topic_admin::TopicAdmin;
use super::verdict::{RowTimes, RowVerdict};
use crate::error::LoadtestError;
use crate::mesh_under_test::{MESH_TOPICS, MeshUnderTest, RabbitClient, TopicReader, TopicRecord};

/// What is known of a row that was run.
#[derive(Debug)]
pub(crate) struct RowEvidence {
    pub(super) brokers: String,
    pub(super) rabbit_url: String,
    pub(super) mesh: Arc<MeshUnderTest>,
    pub(super) load: ConstantLoad,
    pub(super) earlier_results: Vec<TopicRecord>,
    pub(super) wanted_dead_letters: u64,
    pub(super) times: RowTimes,
    pub(crate) complaints: Vec<String>,
    pub(crate) notes: Vec<String>,
    pub(crate) restarts: u64,
    pub(crate) usage: ProcessTrends,
    pub(crate) panics: usize,
}

/// How many times the logs of the mesh's processes say that a thread panicked.
pub(super) fn panics(mesh: &MeshUnderTest) -> usize {
    let name = mesh.topic("");
    let name = name.trim_end_matches('.');
    let Ok(entries) = std::fs::read_dir(mesh.logs()) else { return 0 };
    let ours = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(&format!("{name}-")));
    let panics =
        |path| String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).matches("panicked at").count();
    ours.map(|entry| panics(entry.path())).sum()
}

impl RowEvidence {
    /// Reads all topics and queues of the row, and judges.
    pub(crate) fn judge(&self) -> Result<RowVerdict, LoadtestError> {
        let read =
            |topic: &str| TopicReader::from_start(&self.brokers, &self.mesh.topic(topic))?.all(Duration::from_secs(60));
        let (results, dead_letters) = (read("results_out")?, read("dead_letters")?);
        let rejected = self.take_queues().map_err(LoadtestError::Input)?;
        let mut verdict = RowVerdict { dead_letters: dead_letters.len() as u64 + rejected, ..RowVerdict::default() };
        verdict.take_load(&self.load, self.earlier_results.iter().chain(&results), &dead_letters, self.times);
        let traces = self.traces(&verdict.lost_ids);
        verdict.examples.extend(traces);
        Ok(verdict)
    }

    /// Where requests that were lost have been: the places of the records that hold their labels, topic by topic.
    fn traces(&self, ids: &[String]) -> Vec<String> {
        let mut seen: Vec<String> = ids.iter().map(|id| format!("{id} was seen in")).collect();
        if ids.is_empty() {
            return seen;
        }
        for setting in MESH_TOPICS {
            let read = TopicReader::from_start(&self.brokers, &self.mesh.topic(setting));
            let records = read.and_then(|reader| reader.all(Duration::from_secs(20))).unwrap_or_default();
            for record in records {
                let text = String::from_utf8_lossy(&record.payload);
                for (id, seen) in ids.iter().zip(&mut seen) {
                    let after = text.find(id.as_str()).map(|at| &text[at + id.len()..]);
                    if after.is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_digit())) {
                        seen.push_str(&format!(" {setting}/{}@{}", record.partition, record.offset));
                    }
                }
            }
        }
        seen
    }

    /// Takes replies that came after the load was closed; how many requests RabbitMQ itself holds as dead.
    fn take_queues(&self) -> Result<u64, String> {
        let client = RabbitClient::connect(&self.rabbit_url)?;
        let queue = self.mesh.topic("queue");
        take_all_replies(&client, &queue, &self.load.rabbitmq)?;
        client.count(&self.mesh.topic("queue.dead"))
    }

    /// How many dead letters the row should have.
    pub(crate) fn wanted_dead_letters(&self) -> u64 {
        self.wanted_dead_letters
    }

    /// Deletes the topics between the stages, which are read no more.
    pub(crate) fn forget_inner_topics(&self) -> Result<(), LoadtestError> {
        let inner = MESH_TOPICS.iter().filter(|topic| !["results_out", "dead_letters"].contains(topic));
        let inner: Vec<String> = inner.map(|topic| self.mesh.topic(topic)).collect();
        TopicAdmin::new(&self.brokers)?.delete(&inner.iter().map(String::as_str).collect::<Vec<_>>())
    }
}
