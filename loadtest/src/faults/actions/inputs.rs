//! Faults of clients: bad, large and doubled input, and clocks that are wrong.

use std::time::{Duration, Instant};

use rand::Rng as _;

use crate::error::LoadtestError;
use crate::faults::row_run::FaultRun;
use crate::mesh_under_test::{OutgoingRecord, RabbitClient, TopicWriter, http_client, reply_properties};

type Done = Result<(), LoadtestError>;

/// How long replies to messages that were sent twice are waited for.
const ANSWERED_TWICE: Duration = Duration::from_secs(60);

/// Each is one dead letter, whoever finds it.
const GARBAGE: [&[u8]; 3] = [b"garbage \xff\xfe", br#"{"features":[0.1,0.2"#, b"\0\0\0\0\x07avro"];
/// Each is one error answer.
const INVALID: [&str; 5] = ["[NaN,0]", r#""none""#, "[0.1,0.2,0.3]", "[[0.1],[0.2]]", r#"{"age":"old"}"#];

fn write_all(run: &FaultRun<'_>, topic: &str, payloads: &[&[u8]]) -> Done {
    let writer = TopicWriter::new(&run.environment.brokers)?;
    let topic = run.mesh.topic(topic);
    for payload in payloads {
        writer.write(OutgoingRecord { topic: &topic, payload, ..OutgoingRecord::default() })?;
        *run.wanted_dead_letters.lock() += 1;
    }
    Ok(())
}

fn write_invalid(run: &FaultRun<'_>, all: &[&str]) -> Done {
    let writer = TopicWriter::new(&run.environment.brokers)?;
    let topic = run.mesh.topic("requests_in");
    for features in all {
        let (index, id) = run.load.kafka.next_invalid();
        let body = format!("{{\"request_id\":\"{id}\",\"features\":{features},\"model_version\":\"v1\"}}");
        let record = OutgoingRecord { topic: &topic, payload: body.as_bytes(), ..OutgoingRecord::default() };
        run.load.kafka.accepted(index, Some(writer.write(record)?));
    }
    Ok(())
}

/// A row with this value ends the process that computes its prediction. Its neighbours wait for several sessions.
pub(crate) const POISON: &[(&str, &str)] = &[("FOREBAY_TEST_ABORT_ON", "77.125"), ("FOREBAY__DELIVERY__TIMEOUT", "4m")];

/// One request that no process survives: it becomes an error answer and a dead letter, and all others are answered.
pub(crate) fn poison(run: &FaultRun<'_>) -> Done {
    let before = run.replicas.restarts();
    write_invalid(run, &["[77.125,0.02,0.03,0.04,0.05,0.06,0.07,0.08,0.09,0.1]"])?;
    *run.wanted_dead_letters.lock() += 1;
    run.sleep(1.0);
    run.load.wait_answered(Duration::from_secs(150));
    let ends = run.replicas.restarts() - before;
    run.note(format!("ends of processes until the request was isolated: {ends}"));
    if ends == 0 {
        run.complain("no process ended; the binaries do not know FOREBAY_TEST_ABORT_ON");
    }
    Ok(())
}

/// What no parser takes, on the clients' topic and on the topics between the stages.
pub(crate) fn garbage(run: &FaultRun<'_>) -> Done {
    for _ in 0..5 {
        write_all(run, "requests_in", &GARBAGE)?;
        write_invalid(run, &INVALID)?;
        run.sleep(0.5);
    }
    for topic in ["requests", "features", "predict", "results"] {
        write_all(run, topic, &[b"no batch", b"\x0a\xff\xff\xff\xff\x0f"])?;
        run.sleep(0.5);
    }
    Ok(())
}

/// A body above the limit of HTTP, and a record that is nearly as large as the broker takes.
pub(crate) fn oversized(run: &FaultRun<'_>) -> Done {
    let body = format!("{{\"features\":[{}1]}}", "1,".repeat(1 << 20));
    let address = run.replicas.addresses()[0];
    match http_client::predict(address, &[], &body) {
        Ok(reply) if reply.status == 413 => {}
        Ok(reply) => run.complain(format!("a body of 2 MiB: {} {}", reply.status, reply.text())),
        Err(error) => run.complain(format!("a body of 2 MiB: {error}")),
    }
    let large = format!("[{}1]", "1,".repeat(450_000));
    for _ in 0..5 {
        write_invalid(run, &[&large])?;
        run.sleep(1.0);
    }
    Ok(())
}

/// A request of many rows, while the topic of outcomes takes only small records.
pub(crate) fn outcome_too_large(run: &FaultRun<'_>) -> Done {
    let topic = run.mesh.topic("results");
    run.admin()?.configure(&topic, &[("max.message.bytes", "6000")])?;
    let row = "[0.01,0.02,0.03,0.04,0.05,0.06,0.07,0.08,0.09,0.1]";
    let rows: Vec<String> = (0..200).map(|number| row.replace("0.03", &format!("0.03{number:03}"))).collect();
    let body = format!("{{\"features\":[{}],\"timeout_ms\":15000}}", rows.join(","));
    let headers = [("content-type", "application/json")];
    match http_client::request(run.replicas.addresses()[0], "POST", "/v1/predict", &headers, &body) {
        Ok(reply) if reply.status != 504 => {}
        Ok(reply) => run.complain(format!("200 rows: {} {}", reply.status, reply.text())),
        Err(error) => run.complain(format!("200 rows: {error}")),
    }
    run.admin()?.configure(&topic, &[("max.message.bytes", "1048588")])
}

/// The same key at both replicas at once, and the same message id twice.
pub(crate) fn doubled_requests(run: &FaultRun<'_>) -> Done {
    for number in 0..20 {
        let body =
            format!("{{\"features\":[0.01,0.02,0.03,0.04,0.05,0.06,0.07,0.08,0.09,{}]}}", 0.1 + f64::from(number));
        let key = run.mesh.topic(&format!("key-{number}"));
        let answers: Vec<String> = std::thread::scope(|scope| {
            let call = |address| {
                let (body, key) = (&body, &key);
                scope.spawn(move || http_client::predict(address, &[("idempotency-key", key)], body))
            };
            let calls: Vec<_> = run.replicas.addresses().into_iter().map(call).collect();
            let answer = |reply: std::io::Result<http_client::HttpReply>| match reply {
                Ok(reply) => format!("{} {}", reply.status, reply.json()["prediction"]),
                Err(error) => error.to_string(),
            };
            calls.into_iter().filter_map(|call| call.join().ok()).map(answer).collect()
        });
        if !answers.iter().all(|answer| answer.starts_with("200 ") && *answer == answers[0]) {
            run.complain(format!("one key at two replicas: {answers:?}"));
        }
    }
    twice_over_rabbitmq(run).map_err(LoadtestError::Input)
}

fn twice_over_rabbitmq(run: &FaultRun<'_>) -> Result<(), String> {
    let client = RabbitClient::connect(&run.environment.rabbit_url)?;
    // a mixture of faults may come here again: what has been answered once is not answered under the same id
    let time: u32 = run.random.lock().random();
    let (queue, replies) = (run.mesh.topic("queue"), run.mesh.topic(&format!("twice-{time}")));
    client.declare(&replies, lapin::types::FieldTable::default())?;
    for number in 0..20 {
        let id = format!("twice-{time}-{number}");
        let body =
            format!("{{\"features\":[0.01,0.02,0.03,0.04,0.05,0.06,0.07,0.08,0.09,{}]}}", 0.2 + f64::from(number));
        for _ in 0..2 {
            client.publish(&queue, body.as_bytes(), reply_properties(&replies, &id))?;
        }
    }
    let (begin, mut count) = (Instant::now(), 0);
    // a second reply would come shortly after the first ones
    while begin.elapsed() < ANSWERED_TWICE {
        run.sleep(5.0);
        let before = count;
        while client.get(&replies, false)?.is_some() {
            count += 1;
        }
        if count >= 20 && count == before {
            break;
        }
    }
    if count != 20 {
        run.complain(format!("20 messages, each sent twice under its message id: {count} replies"));
    }
    Ok(())
}

/// The clients' clocks are an hour ahead, and then an hour behind.
pub(crate) fn wrong_clocks(run: &FaultRun<'_>) -> Done {
    for hours in [1, -1] {
        run.load.shift_clients(hours * 3_600_000);
        run.sleep(8.0);
    }
    run.load.shift_clients(0);
    Ok(())
}
