//! When the keys of the issuer are read, and what happens while they cannot be.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::issuer::{Issuer, Key, predict_with, refused, served};
use crate::mesh::{Mesh, until};

#[actix_rt::test]
async fn an_unknown_key_is_looked_up_at_a_limited_rate() {
    let (first, second) = (Key::ec("1"), Key::ec("2"));
    let issuer = Issuer::new(&[&first]);
    let mesh = issuer.mesh(&["auth.jwt.cooldown=400ms", "auth.jwt.refresh=1h"]);
    let server = served(&mesh, &first).await;
    let before = issuer.requests();
    tokio::time::sleep(Duration::from_millis(450)).await;
    issuer.serve(&[&first, &second]);
    assert_eq!(predict_with(server, &second.good()).await.status, 200, "a new key is accepted at once");
    assert_eq!(issuer.requests(), before + 1);
    // invented keys do not make this server flood the issuer
    let strangers: Vec<_> = (0..20).map(|_| Key::ec("3").good()).collect();
    let begin = Instant::now();
    for token in &strangers {
        refused(&predict_with(server, token).await, 401, "unauthorized", "does not have");
    }
    let most = before + 1 + usize::try_from(begin.elapsed().as_millis() / 400).unwrap() + 1;
    assert!(issuer.requests() <= most, "one read in a cool-down: {} of {most}", issuer.requests());
    let before = issuer.requests();
    tokio::time::sleep(Duration::from_millis(450)).await;
    let calls: Vec<_> = strangers.iter().map(|token| predict_with(server, token)).collect();
    for answer in futures_util::future::join_all(calls).await {
        assert_eq!(answer.status, 401);
    }
    assert!(
        (before + 1..=before + 2).contains(&issuer.requests()),
        "they share one read: {}",
        issuer.requests() - before
    );
}

/// Only a few requests with invented keys wait for an issuer that hangs, and no other request waits.
#[actix_rt::test]
async fn a_hanging_issuer_delays_few_requests() {
    let key = Key::ec("1");
    let issuer = Issuer::new(&[&key]);
    let mesh = issuer.mesh(&["auth.jwt.cooldown=50ms", "auth.jwt.refresh=1h"]);
    let server = served(&mesh, &key).await;
    tokio::time::sleep(Duration::from_millis(60)).await;
    issuer.hang();
    let stranger = Key::ec("2").good();
    let streams: Vec<_> = futures_util::future::join_all((0..100).map(|_| {
        let head = format!("POST /v1/predict HTTP/1.1\r\nAuthorization: Bearer {stranger}");
        async move { crate::mesh::send(server, &head, b"{}").await }
    }))
    .await;
    let refusals = "forebay_auth_refused_total{reason=\"issuer\"}";
    until("a bound", async || mesh.metric(refusals) >= Some(36.0)).await;
    let begin = Instant::now();
    assert_eq!(predict_with(server, &key.good()).await.status, 200);
    assert!(begin.elapsed() < Duration::from_secs(4), "known keys need no issuer: {:?}", begin.elapsed());
    drop(streams);
}

#[actix_rt::test]
async fn a_key_that_the_issuer_removes_is_no_longer_accepted() {
    let (old, new) = (Key::ec("old"), Key::ed("new"));
    let issuer = Issuer::new(&[&old]);
    let mesh = issuer.mesh(&["auth.jwt.refresh=100ms"]);
    let server = served(&mesh, &old).await;
    let token = old.good();
    assert_eq!(predict_with(server, &token).await.status, 200);
    issuer.serve(&[&new]);
    until("the end of the old key", async || predict_with(server, &token).await.status == 401).await;
    assert_eq!(predict_with(server, &new.good()).await.status, 200);
    // an issuer that is unreachable or answers nonsense changes nothing
    issuer.away.store(true, Ordering::SeqCst);
    let failures = "forebay_auth_reload_failures_total{what=\"jwks\"}";
    until("a failure", async || mesh.metric(failures) > Some(0.0)).await;
    assert_eq!(predict_with(server, &new.good()).await.status, 200);
    *issuer.keys.lock().unwrap() = "<html>".to_owned();
    issuer.away.store(false, Ordering::SeqCst);
    let before = mesh.metric(failures);
    until("another failure", async || mesh.metric(failures) > before).await;
    assert_eq!(predict_with(server, &new.good()).await.status, 200);
}

#[actix_rt::test]
async fn an_issuer_that_withdraws_all_keys_is_believed() {
    let (key, next) = (Key::ec("stolen"), Key::ed("next"));
    let issuer = Issuer::new(&[&key]);
    let mesh = issuer.mesh(&["auth.jwt.refresh=100ms"]);
    let server = served(&mesh, &key).await;
    assert_eq!(predict_with(server, &key.good()).await.status, 200);
    issuer.serve(&[]);
    until("the end of the key", async || predict_with(server, &key.good()).await.status == 401).await;
    let unready =
        || mesh.host.lifecycle().components().into_iter().any(|it| it.name.contains("issuer") && it.unready.is_some());
    until("the replica is not ready", async || unready()).await;
    issuer.serve(&[&next]);
    until("the next key", async || predict_with(server, &next.good()).await.status == 200).await;
    assert_eq!(predict_with(server, &key.good()).await.status, 401);
}

#[actix_rt::test]
async fn an_unreachable_issuer_at_the_start_is_retried() {
    let key = Key::rsa("r");
    let issuer = Issuer::new(&[&key]);
    issuer.away.store(true, Ordering::SeqCst);
    let mesh = issuer.mesh(&["auth.jwt.cooldown=50ms"]);
    let server = mesh.serve().address;
    let early = predict_with(server, &key.good()).await;
    refused(&early, 503, "unavailable", "keys are not known yet");
    assert_eq!(early.header("retry-after"), Some("1"));
    let unready = |mesh: &Mesh| {
        mesh.host.lifecycle().components().into_iter().any(|it| it.name.contains("issuer") && it.unready.is_some())
    };
    assert!(unready(&mesh), "the replica is not ready");
    issuer.away.store(false, Ordering::SeqCst);
    until("the issuer", async || predict_with(server, &key.good()).await.status == 200).await;
    until("readiness", async || !unready(&mesh)).await;
}

/// Whoever intercepts the connection to the issuer must not be able to inject keys.
#[actix_rt::test]
async fn the_issuer_needs_a_certificate_from_a_trusted_authority() {
    let key = Key::ec("e");
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap();
    let own = rcgen::KeyPair::generate().unwrap();
    let issued =
        rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&own, &authority).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let private = rustls::pki_types::PrivatePkcs8KeyDer::from(own.serialize_der());
    let config = config.with_single_cert(vec![issued.der().clone()], private.into()).unwrap();
    let issuer = Issuer::secure(&[&key], config);

    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let trusting = issuer.mesh(&[&format!("auth.jwt.ca_file={}", ca.display())]);
    served(&trusting, &key).await;

    let doubting = issuer.mesh(&["auth.jwt.cooldown=50ms"]);
    let server = doubting.serve().address;
    let failures = "forebay_auth_reload_failures_total{what=\"jwks\"}";
    until("a failure", async || doubting.metric(failures) > Some(0.0)).await;
    refused(&predict_with(server, &key.good()).await, 503, "unavailable", "keys are not known yet");
}
