//! Bodies that are large, deep, wide or compressed.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::attacks::attack_run::AttackRun;
use crate::error::LoadtestError;

type Sent = Result<String, LoadtestError>;

const MIB: usize = 1 << 20;
/// Size of a compressed body when it is inflated.
const COMPRESSED_MIB: usize = 64;

/// Rows of 65,536 zeros, two bytes each in JSON and eight afterwards, 150 requests at once.
pub(crate) fn wide_rows(run: &AttackRun<'_>) -> Sent {
    let row = format!("[{}0]", "0,".repeat(65_535));
    let body = format!("{{\"features\":[{}],\"timeout_ms\":20000}}", vec![row; 7].join(","));
    let sent = run.in_parallel(150, |_| run.answers.reply(&run.post("/v1/predict", &[], body.as_bytes())));
    Ok(format!("{sent} bodies of {} kB, {} at once", body.len() / 1000, run.some(150)))
}

/// Bodies as large as is admitted, larger ones, and such as end never.
pub(crate) fn huge_bodies(run: &AttackRun<'_>) -> Sent {
    let whole = format!("{{\"features\":[{}0]}}", "0.125,".repeat(MIB / 6 - 10));
    let large = vec![b' '; 8 * MIB];
    let sent = run.in_parallel(32, |number| match number % 3 {
        0 => run.answers.reply(&run.post("/v1/predict", &[], whole.as_bytes())),
        1 => run.answers.reply(&run.post("/v1/predict", &[], &large)),
        _ => endless(run),
    });
    Ok(format!("{sent} bodies of 1 MiB, 8 MiB and without end"))
}

/// Chunks until the server has enough.
fn endless(run: &AttackRun<'_>) {
    let Ok(mut stream) = run.connect() else { return run.answers.count("no connection") };
    let key = run.mesh.attackers_key();
    let head =
        format!("POST /v1/predict HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\ntransfer-encoding: chunked\r\n\r\n");
    let chunk = [b"10000\r\n", &[b' '; 65_536][..], b"\r\n"].concat();
    let mut written = stream.write_all(head.as_bytes());
    for _ in 0..1024 {
        written = written.and_then(|()| stream.write_all(&chunk));
    }
    run.answers.count(if written.is_ok() { "64 MiB of chunks taken" } else { "connection closed" });
}

/// Nesting in what is read, and in what is skipped.
pub(crate) fn deep_json(run: &AttackRun<'_>) -> Sent {
    let bodies = [
        format!("{{\"features\":{}", "[".repeat(MIB - 100)),
        format!("{{\"features\":[1],\"unknown\":{}", "[".repeat(MIB - 100)),
        format!("{{\"features\":[1],\"unknown\":{}", "{\"a\":".repeat(MIB / 5 - 100)),
        format!("{{\"features\":[{{{}}}]}}", (0..60_000).map(|n| format!("\"f{n}\":0,")).collect::<String>()),
        format!("{{{}\"features\":[1]}}", (0..60_000).map(|n| format!("\"f{n}\":0,")).collect::<String>()),
    ];
    let send = |number: usize| {
        run.answers.reply(&run.post("/v1/predict", &[], bodies[number % bodies.len()].as_bytes()));
    };
    let sent = run.in_parallel(32, send);
    Ok(format!("{sent} bodies of 1 MiB of nesting or names"))
}

/// The request id of a body that is no request is looked for in an array.
pub(crate) fn request_id_arrays(run: &AttackRun<'_>) -> Sent {
    let body = format!("{{\"request_id\":[{}0],\"features\":[1]}}", "0,".repeat(MIB / 2 - 100));
    let sent = run.in_parallel(64, |_| run.answers.reply(&run.post("/v1/predict", &[], body.as_bytes())));
    Ok(format!("{sent} bodies of 1 MiB, {} at once", run.some(64)))
}

/// Blanks and rows in a hundredth of their size.
pub(crate) fn compressed_bodies(run: &AttackRun<'_>) -> Sent {
    let packed = |piece: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        for _ in 0..COMPRESSED_MIB {
            encoder.write_all(piece)?;
        }
        encoder.finish()
    };
    let wrong = LoadtestError::system("compress");
    let blanks = packed(&vec![b' '; MIB]);
    let rows = packed(&b"[0,0,0,0,0,0,0,0,0,0],".repeat(MIB / 22));
    let bodies = blanks.and_then(|blanks| Ok([blanks, rows?])).map_err(wrong)?;
    let paths = ["/v1/predict", "/v2/models/diabetes-rf-model/infer", "/invocations"];
    let sent = run.in_parallel(32, |number| {
        let headers = [("content-encoding", "gzip")];
        run.answers.reply(&run.post(paths[number % paths.len()], &headers, &bodies[number % bodies.len()]));
    });
    Ok(format!("{sent} bodies of {} kB that are {COMPRESSED_MIB} MiB", bodies[0].len() / 1000))
}
