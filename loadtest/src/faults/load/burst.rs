//! Requests of an action itself, beside those of the schedule.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;

use super::{Acceptance, ConstantLoad, now_us};
use crate::error::LoadtestError;
use crate::faults::verdict::percentile;
use crate::mesh_under_test::{OutgoingRecord, TopicWriter};

/// How long the broker may take to take the last of them.
const FLUSH: Duration = Duration::from_secs(60);

impl ConstantLoad {
    /// Writes `count` valid requests to Kafka, `rate` a second, each with these fields of JSON beside its own. Returns
    /// their numbers.
    pub(crate) fn burst(
        &self,
        count: usize,
        rate: f64,
        fields: &str,
        random: &mut StdRng,
    ) -> Result<Vec<usize>, LoadtestError> {
        let targets = &self.control.targets;
        let writer = TopicWriter::new(&targets.brokers)?;
        let (began, mut numbers) = (Instant::now(), Vec::with_capacity(count));
        let take_reports = || {
            for (number, outcome) in writer.reports() {
                match outcome {
                    Ok(place) => self.kafka.accepted(number as usize, Some(place)),
                    Err(why) => self.kafka.refused(why),
                }
            }
        };
        for turn in 0..count {
            let due = began + Duration::from_secs_f64(turn as f64 / rate);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let (number, _, body) = self.kafka.next(&self.control.origin, random);
            let body = format!("{},{fields}}}", body.trim_end_matches('}'));
            let topic = &targets.requests_in;
            writer.hand_over(
                OutgoingRecord { topic, payload: body.as_bytes(), ..OutgoingRecord::default() },
                number as u64,
            )?;
            numbers.push(number);
            take_reports();
        }
        writer.flush(FLUSH)?;
        take_reports();
        Ok(numbers)
    }

    /// P50 and P99 of the time from each request that was sent since then, over any entrance, to its answer. One without an
    /// answer has waited until now.
    pub(crate) fn latencies(&self, since_us: u64) -> [Duration; 2] {
        let now = now_us();
        let sent = self.entrances().into_iter().flat_map(|(_, requests)| requests.requests());
        let mut took: Vec<u64> = sent
            .filter(|request| request.first_sent_us >= since_us && request.acceptance != Acceptance::Unknown)
            .map(|request| request.answered_us.unwrap_or(now).saturating_sub(request.first_sent_us))
            .collect();
        took.sort_unstable();
        [50, 99].map(|percent| Duration::from_micros(percentile(&took, percent)))
    }

    /// P99 of the time from these requests to their answers, and how many have one.
    pub(crate) fn p99(&self, numbers: &[usize]) -> (Duration, usize) {
        let requests = self.kafka.requests();
        let took = |number: &usize| Some(requests[*number].answered_us?.saturating_sub(requests[*number].sent_us));
        let mut took: Vec<u64> = numbers.iter().filter_map(took).collect();
        took.sort_unstable();
        (Duration::from_micros(percentile(&took, 99)), took.len())
    }
}
