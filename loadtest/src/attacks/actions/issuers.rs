//! An issuer that lies, and tokens that name keys it does not have.

use std::time::{Duration, Instant};

use crate::attacks::attack_run::AttackRun;
use crate::attacks::attacked_mesh::KEY_SET;
use crate::attacks::local_server::ServerAnswer;
use crate::error::LoadtestError;
use crate::mesh_under_test::http_client::request_within;

type Sent = Result<String, LoadtestError>;

/// How long a set that hangs may keep the mesh from reading the next one.
const READ: Duration = Duration::from_secs(20);

/// Endless sets, deep ones, many keys, redirects, silence: one after the other. Callers with keys notice nothing.
pub(crate) fn lies(run: &AttackRun<'_>) -> Sent {
    let many: Vec<String> = (0..8_000).map(|n| format!("{{\"kty\":\"oct\",\"kid\":\"{n}\",\"k\":\"AAAA\"}}")).collect();
    let answers = [
        ServerAnswer::Endless(vec![b' '; 65_536]),
        ServerAnswer::Endless(b"{\"keys\":[".to_vec()),
        ServerAnswer::Body(b"[".repeat(1 << 20)),
        ServerAnswer::Body(format!("{{\"keys\":[{}]}}", many.join(",")).into_bytes()),
        ServerAnswer::Body(b"{\"keys\":[]}".to_vec()),
        ServerAnswer::Redirect(format!("http://{}/", run.mesh.collector.address)),
        ServerAnswer::Slow,
        ServerAnswer::Silence,
    ];
    let (before, count) = (run.mesh.issuer.requests(), answers.len());
    for answer in answers {
        let (read, kind) = (run.mesh.issuer.requests(), std::mem::discriminant(&answer));
        run.mesh.issuer.answer(answer);
        let deadline = Instant::now() + READ;
        while run.mesh.issuer.requests() == read && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
        if run.mesh.issuer.requests() == read {
            run.complain(format!("the issuer was not read for {READ:?}: {kind:?}"));
        }
        send_token(run, 0);
    }
    run.mesh.issuer.answer(ServerAnswer::Body(KEY_SET.into()));
    let reads = run.mesh.issuer.requests() - before;
    if run.answers.starting("200") > 0 {
        run.complain("a token of no key was accepted");
    }
    Ok(format!("{count} kinds of key sets, read {reads} times"))
}

/// Tokens that name keys the issuer does not have, while it says nothing.
pub(crate) fn unknown_key_ids(run: &AttackRun<'_>) -> Sent {
    run.mesh.issuer.answer(ServerAnswer::Silence);
    let before = run.mesh.issuer.requests();
    let sent = run.in_parallel(100, |number| send_token(run, number));
    run.mesh.issuer.answer(ServerAnswer::Body(KEY_SET.into()));
    let reads = run.mesh.issuer.requests() - before;
    if reads as f64 > run.seconds + 5.0 {
        run.complain(format!("{sent} tokens made the mesh ask the issuer {reads} times"));
    }
    if run.answers.starting("200") > 0 {
        run.complain("a token of no key was accepted");
    }
    Ok(format!("{sent} tokens with invented key ids"))
}

/// A request with a token whose key id is `number`. Its parts are base64 of JSON with a length divisible by three.
fn send_token(run: &AttackRun<'_>, number: usize) {
    let header = base64(&format!("{{\"alg\":\"EdDSA\",\"typ\":\"JWT\",\"kid\":\"k{number}\"}}"));
    let claims = base64("{\"iss\":\"issuer\",\"aud\":\"forebay\",\"sub\":\"mallory\",\"exp\":4102444800}");
    let token = format!("Bearer {header}.{claims}.{}", "A".repeat(86));
    let headers = [("authorization", token.as_str())];
    let address = run.mesh.http;
    let reply = request_within(address, "POST", "/v1/predict", &headers, "{}", Duration::from_secs(15));
    run.answers.reply(&reply);
}

/// Base64 for addresses, without padding.
fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for three in text.as_bytes().chunks(3) {
        let bits = three.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        let digit = |at: usize| char::from(DIGITS[(bits >> (18 - 6 * at)) as usize & 63]);
        out.extend((0..=three.len()).map(digit));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        assert_eq!(["f", "fo", "foo", "foob"].map(base64), ["Zg", "Zm8", "Zm9v", "Zm9vYg"]);
        assert_eq!(base64("{\"a\":\"~~?\"}"), "eyJhIjoifn4_In0");
    }
}
