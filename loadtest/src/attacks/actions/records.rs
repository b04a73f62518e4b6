//! Records on the clients' topic and between the stages.

use std::time::Duration;

use crate::attacks::attack_run::AttackRun;
use crate::error::LoadtestError;
use crate::mesh_under_test::{OutgoingRecord, TopicReader, TopicWriter};

type Sent = Result<String, LoadtestError>;

const MIB: usize = 1 << 20;
/// Below what the broker takes.
const LARGE: usize = 900_000;

/// There are at most so many kinds of hostile records in an attack: each is written, however short it is.
const KINDS: usize = 5;

/// Writes records until the attack is over or `most` are written; how many the broker took.
fn write<'a>(
    run: &AttackRun<'_>,
    most: usize,
    record: impl Fn(usize) -> OutgoingRecord<'a>,
) -> Result<usize, LoadtestError> {
    let writer = TopicWriter::new(&run.environment()?.brokers)?;
    let mut handed = 0;
    while handed < most && (handed < KINDS || !run.is_over()) {
        match writer.hand_over(record(handed), handed as u64) {
            Ok(()) => handed += 1,
            // what is larger than its own limit never leaves the client, and a full queue empties
            Err(_) if writer.in_flight() == 0 => break,
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
    writer.flush(Duration::from_secs(30))?;
    let reports = writer.reports();
    let taken = reports.iter().filter(|(_, outcome)| outcome.is_ok()).count();
    run.answers.count_many("written", taken as u64);
    run.answers.count_many("refused by the broker", (reports.len() - taken) as u64);
    Ok(taken)
}

/// How many results and dead letters came since `before`.
fn counts(run: &AttackRun<'_>) -> Result<[u64; 2], LoadtestError> {
    let held = |topic: &str| {
        let reader = TopicReader::from_start(&run.environment()?.brokers, &run.mesh.mesh.topic(topic))?;
        Ok::<_, LoadtestError>(reader.all(Duration::from_secs(30))?.len() as u64)
    };
    Ok([held("results_out")?, held("dead_letters")?])
}

/// Writes to a topic, and counts what became of it.
fn write_to<'a>(
    run: &AttackRun<'_>,
    topic: &'a str,
    most: usize,
    payloads: &'a [Vec<u8>],
    headers: &'a [Vec<(&'a str, &'a [u8])>],
) -> Sent {
    let before = counts(run)?;
    let record = |number: usize| OutgoingRecord {
        topic,
        payload: &payloads[number % payloads.len()],
        headers: headers.get(number % headers.len().max(1)).map_or(&[], Vec::as_slice),
        ..OutgoingRecord::default()
    };
    let taken = write(run, run.some(most).max(KINDS), record)?;
    run.wait_until_over();
    let after = counts(run)?;
    run.answers.count_many("dead letters", after[1].saturating_sub(before[1]));
    Ok(format!("{taken} records"))
}

/// Headers that are large, many, empty, doubled, and no text; trace contexts that are none.
pub(crate) fn headers(run: &AttackRun<'_>) -> Sent {
    let (large, many): (Vec<u8>, Vec<String>) =
        (vec![b'h'; LARGE], (0..20_000).map(|n| format!("header-{n}")).collect());
    let garbage: &[u8] = b"\xff\xfe\0\r\n";
    let parent: &[u8] = b"00-0000000000000000000000000000002a-000000000000002a-01";
    let name = "n".repeat(30_000);
    let headers: Vec<Vec<(&str, &[u8])>> = vec![
        vec![("traceparent", large.as_slice())],
        many.iter().map(|name| (name.as_str(), &b"v"[..])).collect(),
        vec![("traceparent", garbage), ("tracestate", garbage), ("", garbage)],
        vec![("traceparent", parent); 1000],
        vec![(name.as_str(), garbage)],
    ];
    let payloads = [br#"{"request_id":"hostile","features":[0,0,0,0,0,0,0,0,0,0]}"#.to_vec()];
    write_to(run, &run.mesh.mesh.topic("requests_in"), 400, &payloads, &headers)
}

/// Nesting, arrays where text is expected, and what is no text.
pub(crate) fn bodies(run: &AttackRun<'_>) -> Sent {
    let payloads = [
        format!("{{\"features\":{}", "[".repeat(LARGE)).into_bytes(),
        format!("{{\"request_id\":\"hostile\",\"features\":[1],\"unknown\":{}", "{\"a\":".repeat(LARGE / 5))
            .into_bytes(),
        format!("{{\"request_id\":[{}0],\"features\":[1]}}", "0,".repeat(LARGE / 2)).into_bytes(),
        [b"{\"request_id\":\"hostile\",\"features\":[1],\"model\":\"", &b"\xff".repeat(LARGE)[..], b"\"}"].concat(),
        vec![0; LARGE],
    ];
    write_to(run, &run.mesh.mesh.topic("requests_in"), 300, &payloads, &[])
}

/// Rows of 65,536 zeros, as many as fit into the attack.
pub(crate) fn wide_rows(run: &AttackRun<'_>) -> Sent {
    let row = format!("{{\"request_id\":\"hostile\",\"features\":[{}0]}}", "0,".repeat(65_535));
    write_to(run, &run.mesh.mesh.topic("requests_in"), 2_000, &[row.into_bytes()], &[])
}

/// Counts and lengths that are not there, on every topic between the stages.
pub(crate) fn inner(run: &AttackRun<'_>) -> Sent {
    let payloads = [
        b"\x0a\xff\xff\xff\xff\x0f".to_vec(),
        b"\x0a\x00".repeat(MIB / 4),
        b"\x12\x00".repeat(MIB / 4),
        b"\x0b".repeat(LARGE),
        vec![0xff; LARGE],
    ];
    let mut written = 0;
    for topic in ["requests", "features", "predict", "predictions", "results", "replies"] {
        let topic = run.mesh.mesh.topic(topic);
        let record = |number: usize| OutgoingRecord {
            topic: &topic,
            payload: &payloads[number % payloads.len()],
            ..OutgoingRecord::default()
        };
        written += write(run, KINDS, record)?;
    }
    run.wait_until_over();
    Ok(format!("{written} records on inner topics"))
}
