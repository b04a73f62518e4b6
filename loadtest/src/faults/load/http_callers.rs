//! Callers over HTTP as careful ones are: a request that got no answer is repeated under its `Idempotency-Key`, with
//! another replica if there is one, until it is answered or its caller gives up.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::Rng as _;

use super::{LoadControl, SeededSchedule, SentRequests, answer_of};
use crate::mesh_under_test::http_client;

/// How long one attempt may take; the request says the same to the server.
const ATTEMPT: Duration = Duration::from_secs(10);
/// How long a caller tries: beyond every fault.
const GIVE_UP: Duration = Duration::from_secs(180);
/// How long it waits after the first attempt, and at most: a crowd that repeats at once would be a fault of its own.
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(4));

/// Starts a caller for every request that is due, and waits for the last of them.
pub(super) fn send(control: &Arc<LoadControl>, requests: &Arc<SentRequests>, schedule: SeededSchedule) {
    let mut callers: Vec<JoinHandle<()>> = Vec::new();
    control.paced(schedule, |random| {
        callers.retain(|caller| !caller.is_finished());
        let (index, id, body) = requests.next(&control.origin, random);
        let first = random.random_range(0..control.targets.http.len());
        let (of_caller, requests_of_caller) = (Arc::clone(control), Arc::clone(requests));
        let call = move || call(&of_caller, &requests_of_caller, index, first, &id, &body);
        match std::thread::Builder::new().stack_size(256 * 1024).spawn(call) {
            Ok(caller) => callers.push(caller),
            Err(error) => requests.refused(error.to_string()),
        }
    });
    for caller in callers {
        let _ = caller.join();
    }
}

fn call(control: &LoadControl, requests: &SentRequests, index: usize, first: usize, id: &str, body: &str) {
    // it is going to be repeated until it is answered, so it counts as accepted
    requests.accepted(index, None);
    let body = format!("{},\"timeout_ms\":{}}}", body.trim_end_matches('}'), ATTEMPT.as_millis());
    let (deadline, mut pause) = (Instant::now() + GIVE_UP, PAUSE.0);
    for attempt in first.. {
        let address = control.targets.http[attempt % control.targets.http.len()];
        let headers = [("content-type", "application/json"), ("idempotency-key", id)];
        let within = ATTEMPT + Duration::from_secs(2);
        let why = match http_client::request_within(address, "POST", "/v1/predict", &headers, &body, within) {
            Ok(reply) if reply.is_final() => return requests.answer(answer_of(id, "", reply.body)),
            Ok(reply) => format!("{} {}", reply.status, reply.json()["error"]["code"].as_str().unwrap_or("?")),
            Err(error) => error.kind().to_string(),
        };
        requests.refused(why);
        if Instant::now() >= deadline {
            return;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(PAUSE.1);
        requests.repeated(index);
    }
}
