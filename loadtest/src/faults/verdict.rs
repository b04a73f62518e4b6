//! What became of the requests of one row, in numbers.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::load::{Acceptance, ConstantLoad, SentRequest, SentRequests};
use crate::judge::{Judge, JudgeFindings, JudgeRules};
use crate::mesh_under_test::TopicRecord;
use crate::oracle::OracleEvent;

/// An answer that took longer than this shows that the mesh had not recovered.
const SLOW_US: u64 = 1_000_000;

/// The counts of a row. Zero is right for all but the first three and the times.
#[derive(Debug, Default, Clone)]
pub(crate) struct RowVerdict {
    pub(crate) requests: u64,
    pub(crate) dead_letters: u64,
    /// Requests that were invalid on purpose: as many error answers are right.
    pub(crate) invalid: u64,
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) wrong: u64,
    pub(crate) phantom: u64,
    pub(crate) contradictory: u64,
    pub(crate) late: u64,
    pub(crate) errors: BTreeMap<String, u64>,
    /// Replies over RabbitMQ that came again with the same message id and the same bytes.
    pub(crate) repeated_replies: u64,
    /// Attempts over all entrances that were refused or cut off, and then repeated by their clients.
    pub(crate) refused: u64,
    /// The longest time without a result in the topic, and until the last slow answer after the fault's end.
    pub(crate) longest_gap: Duration,
    pub(crate) recovery: Duration,
    /// P50 and P99 of the time from a request to its answer, of requests that were sent after the fault began.
    pub(crate) latencies: [Duration; 2],
    /// A few requests that were lost.
    pub(crate) lost_ids: Vec<String>,
    /// A few examples of each kind of violation.
    pub(crate) examples: Vec<String>,
}

/// The moments that times of a row are counted from, microseconds since 1970.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RowTimes {
    pub(crate) load_ended_us: u64,
    pub(crate) fault_began_us: u64,
    pub(crate) fault_ended_us: u64,
}

/// How long after it was sent a request may be answered: the mesh's default deadline, and a second for its error.
pub(crate) const LATE: Duration = Duration::from_secs(61);

impl RowVerdict {
    /// Judges the requests of all entrances of a load, by the records of the result topic and by the dead letters.
    pub(crate) fn take_load<'r>(
        &mut self,
        load: &ConstantLoad,
        results: impl IntoIterator<Item = &'r TopicRecord>,
        dead_letters: &[TopicRecord],
        times: RowTimes,
    ) {
        let time = |record: &TopicRecord| u64::try_from(record.timestamp_ms).unwrap_or(0) * 1000;
        let answers: Vec<(&[u8], u64)> =
            results.into_iter().map(|record| (record.payload.as_slice(), time(record))).collect();
        let (kafka, http, rabbitmq) = (&load.kafka, &load.http, &load.rabbitmq);
        self.take_entrance("kafka", kafka, &answers, dead_letters);
        let answered = http.answers();
        let answers: Vec<(&[u8], u64)> = answered.iter().map(|it| (it.body.as_slice(), it.at_us)).collect();
        self.take_entrance("http", http, &answers, &[]);
        self.take_replies(rabbitmq, dead_letters);
        self.take_times(&[kafka, http, rabbitmq], kafka, times);
    }

    /// Judges the requests of one entrance by the answers, which are (body, when it was seen), and by the dead letters.
    pub(crate) fn take_entrance(
        &mut self,
        entrance: &str,
        requests: &SentRequests,
        answers: &[(&[u8], u64)],
        dead_letters: &[TopicRecord],
    ) {
        let mut judge = Judge::new(JudgeRules { late_after: Some(LATE), ..JudgeRules::default() });
        for (index, request) in requests.requests().iter().enumerate() {
            let id = format!("{}-{index}", requests.run());
            let checksum = request.row as u64;
            judge.event(OracleEvent::Sent { id: id.clone(), checksum, at_us: request.sent_us });
            // no prediction is right for an invalid request
            judge.origin(&id, request.prediction.unwrap_or(f64::NAN));
            self.invalid += u64::from(request.prediction.is_none());
            match request.acceptance {
                Acceptance::Accepted(_) => judge.event(OracleEvent::Accepted(id)),
                Acceptance::Unknown | Acceptance::Removed => judge.event(OracleEvent::Refused(id)),
            }
        }
        for (body, at_us) in answers {
            judge.answer_at(body, *at_us);
        }
        for letter in dead_letters {
            judge.dead_letter(&letter.payload);
        }
        self.add(entrance, &judge.findings());
        self.refused += requests.refusals().values().sum::<u64>();
    }

    fn add(&mut self, entrance: &str, findings: &JudgeFindings) {
        self.requests += findings.sent;
        self.lost += findings.count("accepted and never answered");
        self.doubled += findings.count("answered more than once");
        self.contradictory += findings.count("contradictory answers");
        self.wrong += findings.count("not what the model's origin predicts")
            + findings.count("equal features, different prediction")
            + findings.count("neither prediction nor error")
            + findings.count("unreadable result");
        self.phantom += findings.count("answer to an unknown request") + findings.count("answer without a request id");
        self.late += findings.count("answered late");
        for (code, count) in &findings.errors {
            *self.errors.entry(code.clone()).or_default() += count;
        }
        if let Some((_, ids)) = findings.violations.get("accepted and never answered") {
            self.lost_ids.extend(ids.iter().cloned());
        }
        for (kind, (count, examples)) in &findings.violations {
            self.examples.push(format!("{entrance}: {kind}: {count}, for example {}", examples.join(" | ")));
        }
    }

    /// Takes the replies of RabbitMQ; what came again is counted apart when a client can recognise it.
    pub(crate) fn take_replies(&mut self, requests: &SentRequests, dead_letters: &[TopicRecord]) {
        let answers = requests.answers();
        let mut first: HashMap<&str, (&str, &[u8])> = HashMap::new();
        let mut judged = Vec::new();
        for answer in &answers {
            let this = (answer.message_id.as_str(), answer.body.as_slice());
            match first.get(answer.id.as_str()) {
                Some(known) if *known == this && !this.0.is_empty() => self.repeated_replies += 1,
                Some(known) => {
                    if judged.len() == first.len() {
                        let texts = [*known, this].map(|it| format!("{} {}", it.0, String::from_utf8_lossy(it.1)));
                        self.examples.push(format!("rabbitmq: two replies: {}", texts.join(" | ")));
                    }
                    judged.push((this.1, answer.at_us));
                }
                None => {
                    first.insert(&answer.id, this);
                    judged.push((this.1, answer.at_us));
                }
            }
        }
        self.take_entrance("rabbitmq", requests, &judged, dead_letters);
    }

    /// Computes the times from when the first answer to each request was seen.
    pub(crate) fn take_times(&mut self, entrances: &[&SentRequests], results: &SentRequests, times: RowTimes) {
        let mut seen: Vec<u64> = results.requests().iter().filter_map(|request| request.answered_us).collect();
        seen.retain(|at| (times.fault_began_us..=times.load_ended_us).contains(at));
        seen.extend([times.fault_began_us, times.load_ended_us]);
        seen.sort_unstable();
        let gap = seen.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0);
        self.longest_gap = Duration::from_micros(gap);
        let slow = |requests: &&SentRequests| {
            let slow = requests.requests().into_iter().filter_map(|request| {
                let at = request.answered_us?;
                (at.saturating_sub(request.sent_us) > SLOW_US).then_some(at)
            });
            slow.max().unwrap_or(0)
        };
        let last = entrances.iter().map(slow).max().unwrap_or(0);
        self.recovery = Duration::from_micros(last.saturating_sub(times.fault_ended_us));
        let answered = entrances.iter().flat_map(|requests| requests.requests());
        let answered = answered.filter(|request| request.first_sent_us >= times.fault_began_us);
        let took = |request: SentRequest| Some(request.answered_us?.saturating_sub(request.first_sent_us));
        let mut took: Vec<u64> = answered.filter_map(took).collect();
        took.sort_unstable();
        self.latencies = [50, 99].map(|percent| Duration::from_micros(percentile(&took, percent)));
    }

    /// Error answers that are no late ones, and none too many or too few for invalid requests.
    pub(crate) fn other_errors(&self) -> u64 {
        // the last one is the answer to a request that ends its process
        const INVALID: [&str; 4] = ["invalid_features", "invalid_request", "payload_too_large", "internal"];
        let of =
            |wanted: fn(&str) -> bool| self.errors.iter().filter(move |(code, _)| wanted(code)).map(|(_, count)| count);
        let invalid: u64 = of(|code| INVALID.contains(&code)).sum();
        let others: u64 = of(|code| !INVALID.contains(&code) && code != "deadline_exceeded").sum();
        others + invalid.abs_diff(self.invalid)
    }

    /// Answers after the deadline, and errors that say so.
    pub(crate) fn all_late(&self) -> u64 {
        self.late + self.errors.get("deadline_exceeded").copied().unwrap_or(0)
    }
}

/// The value below which `percent` of the sorted values lie; 0 without values.
pub(crate) fn percentile(sorted: &[u64], percent: usize) -> u64 {
    sorted.get((sorted.len() * percent / 100).min(sorted.len().saturating_sub(1))).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::load::answer_of;
    use crate::faults::origin::OriginRows;
    use rand::SeedableRng as _;

    fn sent(count: usize) -> (SentRequests, Vec<String>, Vec<f64>) {
        let origin = OriginRows::load().unwrap();
        let requests = SentRequests::new(&origin, 7, 0);
        let mut random = rand::rngs::StdRng::seed_from_u64(7);
        let ids = (0..count).map(|_| {
            let (index, id, _) = requests.next(&origin, &mut random);
            requests.accepted(index, None);
            id
        });
        let ids = ids.collect();
        let predictions = requests.requests().iter().filter_map(|request| request.prediction).collect();
        (requests, ids, predictions)
    }

    fn body(id: &str, prediction: f64) -> Vec<u8> {
        format!(r#"{{"request_id":"{id}","prediction":{prediction},"model_version":"v1"}}"#).into_bytes()
    }

    #[test]
    fn each_damage_has_its_column() {
        let (requests, ids, predictions) = sent(6);
        let mut answers: Vec<Vec<u8>> = ids.iter().zip(&predictions).map(|(id, value)| body(id, *value)).collect();
        answers.remove(0);
        answers.push(answers[1].clone());
        answers[3] = body(&ids[4], predictions[4] + 1.0);
        answers.push(body(&format!("{}-99", requests.run()), 1.0));
        let answers: Vec<(&[u8], u64)> = answers.iter().map(|body| (body.as_slice(), 0)).collect();
        let mut verdict = RowVerdict::default();
        verdict.take_entrance("kafka", &requests, &answers, &[]);
        let RowVerdict { requests, lost, doubled, wrong, phantom, contradictory, late, .. } = verdict;
        assert_eq!((requests, lost, doubled, wrong, phantom, contradictory, late), (6, 1, 1, 1, 1, 0, 0));
    }

    #[test]
    fn an_invalid_request_is_answered_with_an_error_and_with_nothing_else() {
        for (answer, errors, wrong) in [(r#""prediction":1.5"#, 1, 1), (r#""error":{"code":"invalid_features"}"#, 0, 0)]
        {
            let (requests, _, _) = sent(0);
            let (index, id) = requests.next_invalid();
            requests.accepted(index, None);
            let body = format!(r#"{{"request_id":"{id}",{answer},"model_version":"v1"}}"#);
            let mut verdict = RowVerdict::default();
            verdict.take_entrance("kafka", &requests, &[(body.as_bytes(), 0)], &[]);
            assert_eq!((verdict.other_errors(), verdict.wrong, verdict.lost), (errors, wrong, 0));
        }
    }

    #[test]
    fn a_reply_that_a_client_recognises_is_no_double() {
        let (requests, ids, predictions) = sent(2);
        let reply = |index: usize, message_id: &str| {
            requests.answer(answer_of(&ids[index], message_id, body(&ids[index], predictions[index])));
        };
        reply(0, "a");
        reply(1, "b");
        reply(0, "a");
        reply(1, "c");
        let mut verdict = RowVerdict::default();
        verdict.take_replies(&requests, &[]);
        assert_eq!((verdict.repeated_replies, verdict.doubled, verdict.lost), (1, 1, 0));
    }
}
