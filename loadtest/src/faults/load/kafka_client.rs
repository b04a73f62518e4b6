//! Clients of Kafka: one that writes requests, one that reads results. Both outlive a broker that hangs: a client that
//! has heard nothing for a while is made again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{LoadControl, SeededSchedule, SentRequests};
use crate::mesh_under_test::{OutgoingRecord, TopicReader, TopicRecord, TopicWriter};

/// How long a client may hear nothing while it should.
const SILENCE: Duration = Duration::from_secs(10);
/// After a pause of the load a new producer writes.
const PAUSE: Duration = Duration::from_secs(2);

/// Writes requests until the load ends, and waits for their reports.
pub(super) fn send(control: &Arc<LoadControl>, requests: &Arc<SentRequests>, schedule: SeededSchedule) {
    let mut writing = Writing { writer: None, last_report: Instant::now(), last_write: Instant::now() };
    control.paced(schedule, |random| {
        let offset = *control.clock_offset_ms.lock();
        let (index, _, body) = requests.next(&control.origin, random);
        writing.write(control, requests, index, &body, offset);
        writing.take_reports(requests);
    });
    let deadline = Instant::now() + Duration::from_secs(65);
    while writing.in_flight() > 0 && Instant::now() < deadline {
        writing.take_reports(requests);
        std::thread::sleep(Duration::from_millis(20));
    }
    writing.take_reports(requests);
}

struct Writing {
    writer: Option<TopicWriter>,
    last_report: Instant,
    last_write: Instant,
}

impl Writing {
    fn in_flight(&self) -> usize {
        self.writer.as_ref().map_or(0, TopicWriter::in_flight)
    }

    fn write(&mut self, control: &LoadControl, requests: &SentRequests, index: usize, body: &str, offset_ms: i64) {
        let idle = self.in_flight() == 0;
        if idle && self.last_write.elapsed() > PAUSE {
            // the topic may be another one by now, which knows nothing of this producer
            self.writer = None;
        }
        self.last_write = Instant::now();
        if idle {
            self.last_report = self.last_write;
        }
        if self.writer.is_none() {
            self.writer = TopicWriter::new(&control.targets.brokers).ok();
            self.last_report = Instant::now();
        }
        let Some(writer) = &self.writer else { return };
        let now_ms = i64::try_from(super::now_us() / 1000).unwrap_or(i64::MAX);
        let out = OutgoingRecord {
            topic: &control.targets.requests_in,
            payload: body.as_bytes(),
            timestamp_ms: (offset_ms != 0).then(|| now_ms + offset_ms),
            ..OutgoingRecord::default()
        };
        if let Err(error) = writer.hand_over(out, index as u64) {
            requests.refused(error.to_string());
        }
    }

    fn take_reports(&mut self, requests: &SentRequests) {
        let Some(writer) = &self.writer else { return };
        for (index, outcome) in writer.reports() {
            self.last_report = Instant::now();
            match outcome {
                Ok(place) => requests.accepted(index as usize, Some(place)),
                Err(error) => requests.refused(error),
            }
        }
        if writer.in_flight() > 0 && self.last_report.elapsed() > SILENCE * 3 {
            // what it still holds may be written or not; those requests stay unknown
            self.writer = None;
        }
    }
}

/// Notes when results appear. What they say is read from the topic at the end.
pub(super) fn collect(control: &Arc<LoadControl>, requests: &Arc<SentRequests>) {
    let (mut next, mut reader, mut last) = (HashMap::new(), None, Instant::now());
    while !control.closed() {
        let Some(open) = reader.take().or_else(|| open(control, &next)) else {
            std::thread::sleep(Duration::from_millis(500));
            continue;
        };
        match open.poll(Duration::from_millis(100)) {
            Ok(Some(record)) => {
                last = Instant::now();
                next.insert(record.partition, record.offset + 1);
                if let Some(id) = TopicRecord::request_id(&record) {
                    requests.seen(&id);
                }
                reader = Some(open);
            }
            Ok(None) if last.elapsed() < SILENCE => reader = Some(open),
            Ok(None) => last = Instant::now(),
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

fn open(control: &LoadControl, next: &HashMap<i32, i64>) -> Option<TopicReader> {
    // a topic that was made again begins again
    let at = |partition: i32, (low, high): (i64, i64)| {
        next.get(&partition).copied().filter(|offset| (low..=high).contains(offset)).unwrap_or(low)
    };
    TopicReader::open(&control.targets.brokers, &control.targets.results_out, at).ok()
}
