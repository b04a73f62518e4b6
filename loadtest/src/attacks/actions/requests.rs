//! Requests that are small each: by their headers, their number, or what they make the mesh keep.

use crate::attacks::attack_run::AttackRun;
use crate::error::LoadtestError;
use crate::mesh_under_test::http_client::request;

type Sent = Result<String, LoadtestError>;

const ROW: &str = "[0,0,0,0,0,0,0,0,0,0]";

/// Keys that no caller has, long ones, and several at once.
pub(crate) fn unknown_keys(run: &AttackRun<'_>) -> Sent {
    let long = "k".repeat(30_000);
    let sent = run.in_parallel(16, |number| {
        let key = format!("fb_{number:064x}");
        let headers = match number % 3 {
            0 => vec![("x-api-key", key.as_str())],
            1 => vec![("authorization", long.as_str())],
            _ => vec![("x-api-key", key.as_str()), ("authorization", "Bearer x.y.z")],
        };
        run.answers.reply(&request(run.mesh.http, "POST", "/v1/predict", &headers, "{\"features\":[1]}"));
    });
    if run.answers.starting("200") > 0 {
        run.complain("a key of no caller was accepted");
    }
    Ok(format!("{sent} requests"))
}

/// Requests of 1,024 rows, whose answers are to be kept under a key each.
pub(crate) fn idempotency_keys(run: &AttackRun<'_>) -> Sent {
    let body = format!("{{\"features\":[{}]}}", vec![ROW; 1024].join(","));
    let sent = run.in_parallel(4, |number| {
        run.answers.reply(&run.post("/v1/predict", &[("idempotency-key", &format!("x{number}"))], body.as_bytes()));
    });
    Ok(format!("{sent} requests of 1,024 rows with a key each"))
}

/// Requests without credentials whose traces are to be recorded. Strangers may have a few spans a second.
pub(crate) fn sampled_traces(run: &AttackRun<'_>) -> Sent {
    let before = run.mesh.collector.words();
    let sent = run.in_parallel(8, |number| {
        let parent = format!("00-{:032x}-{:016x}-01", number + 1, number + 1);
        let headers = [("traceparent", parent.as_str()), ("tracestate", "a=b")];
        run.answers.reply(&request(run.mesh.http, "POST", "/v1/predict", &headers, "{}"));
    });
    // the exporter sends what it has every few seconds
    std::thread::sleep(std::time::Duration::from_secs(6));
    let spans = run.mesh.collector.words() - before;
    run.answers.count_many("spans exported", spans);
    let allowed = (MOST_SPANS * (run.seconds + 10.0)) as u64 + sent as u64 / 20;
    if spans > allowed {
        run.complain(format!("{spans} spans of {sent} requests without credentials, at most {allowed} were expected"));
    }
    Ok(format!("{sent} requests with a sampled traceparent"))
}

/// Spans a second that strangers and the normal callers may have together.
const MOST_SPANS: f64 = 200.0;

/// A different priority with every request.
pub(crate) fn priorities(run: &AttackRun<'_>) -> Sent {
    let sent = run.in_parallel(32, |number| {
        let priority = i32::MIN.wrapping_add((number as i32).wrapping_mul(262_144));
        let rows = (0..64).map(|row| format!("[0,0,0,0,0,0,0,0,{row},{number}]")).collect::<Vec<_>>().join(",");
        let body = format!("{{\"features\":[{rows}],\"priority\":{priority}}}");
        run.answers.reply(&run.post("/v1/predict", &[], body.as_bytes()));
    });
    Ok(format!("{sent} requests of 64 rows, each of another priority"))
}

/// As many rows as are admitted, with the longest timeout.
pub(crate) fn long_waits(run: &AttackRun<'_>) -> Sent {
    let sent = run.in_parallel(64, |number| {
        let rows = (0..1024).map(|row| format!("[0,0,0,0,0,0,0,1,{row},{number}]")).collect::<Vec<_>>().join(",");
        let body = format!("{{\"features\":[{rows}],\"timeout_ms\":300000}}");
        run.answers.reply(&run.post("/v1/predict", &[], body.as_bytes()));
    });
    Ok(format!("{sent} requests of 1,024 rows, {} at once, which would wait for five minutes", run.some(64)))
}
