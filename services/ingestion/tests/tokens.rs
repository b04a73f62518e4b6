//! Tokens (JWT) at the HTTP door, against a small issuer over loopback. Tokens are signed here by ring and put together by
//! hand, so that the library under test does not check itself.
#![cfg(test)]

mod mesh;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use mesh::{Mesh, Response, call, until};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
    RsaKeyPair,
};
use serde_json::{Value, json};

/// For tests alone: ring makes no RSA keys.
const RSA: &[u8] = include_bytes!("tokens/rsa2048.pk8");

enum Pair {
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

/// A key of the issuer.
struct Key {
    id: &'static str,
    pair: Pair,
}

impl Key {
    fn ec(id: &'static str) -> Self {
        let (algorithm, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Self { id, pair: Pair::Ec(EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap()) }
    }

    fn ed(id: &'static str) -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self { id, pair: Pair::Ed(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap()) }
    }

    fn rsa(id: &'static str) -> Self {
        Self { id, pair: Pair::Rsa(RsaKeyPair::from_pkcs8(RSA).unwrap()) }
    }

    fn algorithm(&self) -> &'static str {
        match self.pair {
            Pair::Ec(_) => "ES256",
            Pair::Ed(_) => "EdDSA",
            Pair::Rsa(_) => "RS256",
        }
    }

    fn jwk(&self) -> Value {
        let id = self.id;
        match &self.pair {
            Pair::Ec(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({ "kty": "EC", "crv": "P-256", "kid": id, "use": "sig", "x": BASE64.encode(x), "y": BASE64.encode(y) })
            }
            Pair::Ed(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "kid": id, "x": BASE64.encode(pair.public_key()) })
            }
            Pair::Rsa(pair) => {
                let parts = ring::rsa::PublicKeyComponents::<Vec<u8>>::from(pair.public());
                json!({ "kty": "RSA", "kid": id, "n": BASE64.encode(parts.n), "e": BASE64.encode(parts.e) })
            }
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.sign_as(message, &RSA_PKCS1_SHA256)
    }

    fn sign_as(&self, message: &[u8], padding: &'static dyn ring::signature::RsaEncoding) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Ec(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Pair::Ed(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(padding, &random, message, &mut signature).unwrap();
                signature
            }
        }
    }

    fn header(&self) -> Value {
        json!({ "alg": self.algorithm(), "typ": "JWT", "kid": self.id })
    }

    /// A token with these parts.
    fn token(&self, header: &Value, claims: &Value) -> String {
        let message = message(header, claims);
        format!("{message}.{}", BASE64.encode(self.sign(message.as_bytes())))
    }

    fn good(&self) -> String {
        self.token(&self.header(), &claims())
    }
}

fn message(header: &Value, claims: &Value) -> String {
    format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn claims() -> Value {
    json!({ "iss": "https://issuer", "aud": "forebay", "sub": "alice", "exp": now() + 600, "nbf": now() - 5, "scope": "read score" })
}

fn but(change: Value) -> Value {
    let mut claims = claims();
    for (key, value) in change.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(key)),
            value => claims[key] = value.clone(),
        }
    }
    claims
}

/// Serves a key set, and counts who asks.
struct Issuer {
    address: SocketAddr,
    scheme: &'static str,
    keys: Arc<Mutex<String>>,
    asked: Arc<AtomicUsize>,
    away: Arc<AtomicBool>,
    hangs: Arc<AtomicBool>,
}

impl Issuer {
    fn new(keys: &[&Key]) -> Self {
        Self::start("http", keys, |mut socket, body| answer(&mut socket, body))
    }

    /// Over TLS, with a certificate that `config` holds.
    fn secure(keys: &[&Key], config: rustls::ServerConfig) -> Self {
        let config = Arc::new(config);
        Self::start("https", keys, move |socket, body| {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut tls = rustls::StreamOwned::new(connection, socket);
            answer(&mut tls, body);
            tls.conn.send_close_notify();
            drop(tls.flush());
        })
    }

    fn start(scheme: &'static str, keys: &[&Key], exchange: impl Fn(TcpStream, &str) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let issuer = Self {
            address,
            scheme,
            keys: Arc::default(),
            asked: Arc::default(),
            away: Arc::default(),
            hangs: Arc::default(),
        };
        issuer.serve(keys);
        let (keys, asked, away) = (Arc::clone(&issuer.keys), Arc::clone(&issuer.asked), Arc::clone(&issuer.away));
        let hangs = Arc::clone(&issuer.hangs);
        // ends with the test's process
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for socket in listener.incoming().map_while(Result::ok) {
                if hangs.load(Ordering::SeqCst) {
                    held.push(socket);
                    continue;
                }
                asked.fetch_add(1, Ordering::SeqCst);
                if !away.load(Ordering::SeqCst) {
                    let body = keys.lock().unwrap().clone();
                    exchange(socket, &body);
                }
            }
        });
        issuer
    }

    fn serve(&self, keys: &[&Key]) {
        *self.keys.lock().unwrap() =
            json!({ "keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>() }).to_string();
    }

    /// From now on it takes connections and says nothing.
    fn hang(&self) {
        self.hangs.store(true, Ordering::SeqCst);
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn mesh(&self, flags: &[&str]) -> Mesh {
        let jwks = format!("auth.jwt.jwks={}://localhost:{}/keys", self.scheme, self.address.port());
        let mut all = vec![jwks.as_str(), "auth.jwt.issuer=https://issuer", "auth.jwt.audience=forebay"];
        all.extend(flags);
        let mut mesh = Mesh::start(&all);
        mesh.answer_all();
        mesh
    }
}

fn answer(socket: &mut (impl Read + Write), body: &str) {
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(b"\r\n\r\n") && matches!(socket.read(&mut byte), Ok(1)) {
        seen.push(byte[0]);
    }
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    drop(socket.write_all(format!("{head}{body}").as_bytes()));
}

async fn ask(door: SocketAddr, token: &str) -> Response {
    let head = format!("POST /v1/predict HTTP/1.1\r\nAuthorization: Bearer {token}");
    call(door, &head, br#"{"features":[1,2]}"#).await
}

#[track_caller]
fn refused(answer: &Response, status: u16, code: &str, why: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{answer:?}");
    assert!(answer.body.contains(why), "{why}: {answer:?}");
}

async fn served(mesh: &Mesh, key: &Key) -> SocketAddr {
    let door = mesh.serve().address;
    until("the issuer's keys", async || ask(door, &key.good()).await.status == 200).await;
    door
}

#[actix_rt::test]
async fn good_tokens_get_in() {
    let keys = [Key::ec("e"), Key::ed("d"), Key::rsa("r")];
    let issuer = Issuer::new(&keys.each_ref());
    let mesh = issuer.mesh(&["auth.jwt.algorithms=RS256,PS256,ES256,EdDSA", "auth.jwt.scope=score"]);
    let door = served(&mesh, &keys[0]).await;
    for key in &keys {
        for claims in [
            claims(),
            but(json!({ "aud": ["other", "forebay"] })),
            but(json!({ "nbf": null })),
            but(json!({ "exp": now() - 10 })), // within the leeway
            but(json!({ "scope": null, "scp": ["score"] })),
        ] {
            let fine = ask(door, &key.token(&key.header(), &claims)).await;
            assert_eq!(fine.status, 200, "{} {claims}: {fine:?}", key.id);
        }
        let typed = json!({ "alg": key.algorithm(), "typ": "at+JWT", "kid": key.id });
        assert_eq!(ask(door, &key.token(&typed, &claims())).await.status, 200);
        let nameless = json!({ "alg": key.algorithm() });
        assert_eq!(ask(door, &key.token(&nameless, &claims())).await.status, 200, "one key fits");
    }
    let pss = message(&json!({ "alg": "PS256", "kid": "r" }), &claims());
    let signature = keys[2].sign_as(pss.as_bytes(), &RSA_PSS_SHA256);
    assert_eq!(ask(door, &format!("{pss}.{}", BASE64.encode(signature))).await.status, 200);
    assert_eq!(issuer.asked(), 1, "the keys were read once");
    assert!(mesh.metric("forebay_caller_requests_total{caller=\"jwt\"}").unwrap() > 20.0);
    let text = mesh.host.metrics().encode().unwrap();
    assert!(!text.contains("alice"), "subjects are no labels");
}

#[actix_rt::test]
async fn claims_that_do_not_fit_are_refused() {
    let key = Key::ec("e");
    let issuer = Issuer::new(&[&key]);
    let mesh = issuer.mesh(&["auth.jwt.scope=score", "auth.jwt.leeway=1s"]);
    let door = served(&mesh, &key).await;
    for (change, why) in [
        (json!({ "exp": now() - 10 }), "has expired"),
        (json!({ "exp": null }), "exp, iss, aud or sub"),
        (json!({ "exp": "tomorrow" }), "exp, iss, aud or sub"),
        (json!({ "nbf": now() + 600 }), "not valid yet"),
        (json!({ "iss": "https://issuer.evil" }), "another issuer"),
        (json!({ "iss": null }), "exp, iss, aud or sub"),
        (json!({ "aud": "forebay2" }), "another audience"),
        (json!({ "aud": null }), "exp, iss, aud or sub"),
        (json!({ "sub": null }), "the token is not taken"),
        (json!({ "sub": "" }), "subject"),
        (json!({ "sub": "a\nb" }), "subject"),
        (json!({ "sub": 7 }), "the token is not taken"),
        (json!({ "sub": "a".repeat(300) }), "subject"),
    ] {
        let answer = ask(door, &key.token(&key.header(), &but(change))).await;
        refused(&answer, 401, "unauthorized", why);
        assert!(answer.header("www-authenticate").unwrap().contains("invalid_token"), "{answer:?}");
    }
    for change in [json!({ "scope": "read" }), json!({ "scope": null }), json!({ "scope": "scores" })] {
        let answer = ask(door, &key.token(&key.header(), &but(change))).await;
        refused(&answer, 403, "forbidden", "lacks the scope");
        assert!(answer.header("www-authenticate").unwrap().contains("insufficient_scope"), "{answer:?}");
    }
}

/// The known ways to get around a signature.
#[actix_rt::test]
async fn forged_tokens_are_refused() {
    let (ec, rsa, evil) = (Key::ec("e"), Key::rsa("r"), Key::ec("e"));
    let issuer = Issuer::new(&[&ec, &rsa]);
    let mesh = issuer.mesh(&[]);
    let door = served(&mesh, &ec).await;
    let good = ec.good();
    let parts: Vec<_> = good.split('.').collect();
    let mallory = BASE64.encode(but(json!({ "sub": "mallory" })).to_string());
    let with_header = |header: Value| ec.token(&header, &claims());
    let none = |name: &str| format!("{}.", message(&json!({ "alg": name, "kid": "e" }), &claims()));
    let mut flipped = BASE64.decode(parts[2]).unwrap();
    flipped[0] ^= 1;

    let mut table = vec![
        (evil.good(), "signature is wrong"),
        (format!("{}.{mallory}.{}", parts[0], parts[2]), "signature is wrong"),
        (format!("{}.{}.{}", parts[0], parts[1], BASE64.encode(flipped)), "signature is wrong"),
        (format!("{}.{}.", parts[0], parts[1]), "signature is wrong"),
        (format!("{}.{}", parts[0], parts[1]), "no token that can be read"),
        (none("none"), "no token that can be read"),
        (none("NONE"), "no token that can be read"),
        // an algorithm that the settings do not list, or that is not the key's
        (with_header(json!({ "alg": "ES384", "kid": "e" })), "not accepted here"),
        (with_header(json!({ "alg": "RS256", "kid": "e" })), "key that the issuer does not have"),
        (with_header(json!({ "alg": "ES256", "kid": "r" })), "key that the issuer does not have"),
        (with_header(json!({ "alg": "ES256", "kid": "e", "crit": ["exp"] })), "extensions"),
        (with_header(json!({ "alg": "ES256", "kid": "e", "typ": "logout+jwt" })), "something else"),
        // keys that a token brings along
        (evil.token(&json!({ "alg": "ES256", "kid": "e", "jwk": evil.jwk() }), &claims()), "signature is wrong"),
        (
            evil.token(
                &json!({ "alg": "ES256", "kid": "x", "jku": "http://127.0.0.1:1/", "jwk": evil.jwk() }),
                &claims(),
            ),
            "does not have",
        ),
        ("a".repeat(9000), "too long"),
        (format!("{}.{}.{}", "a".repeat(100), "b", "c"), "no token that can be read"),
        ("...".to_owned(), "no token that can be read"),
    ];
    // the public key as the shared secret of HMAC
    for secret in [
        ec.jwk().to_string().into_bytes(),
        rsa.jwk()["n"].as_str().unwrap().as_bytes().to_vec(),
        BASE64.decode(rsa.jwk()["n"].as_str().unwrap()).unwrap(),
    ] {
        for id in ["e", "r"] {
            let signed = message(&json!({ "alg": "HS256", "kid": id }), &claims());
            let mac = ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret), signed.as_bytes());
            table.push((format!("{signed}.{}", BASE64.encode(mac)), "not accepted here"));
        }
    }
    for (token, why) in table {
        refused(&ask(door, &token).await, 401, "unauthorized", why);
    }
    assert_eq!(ask(door, &good).await.status, 200, "and the good one still is");
    let by_key_header = format!("POST /v1/predict HTTP/1.1\r\nX-API-Key: {good}");
    refused(&call(door, &by_key_header, b"{}").await, 401, "unauthorized", "API keys are not taken here");
}

#[actix_rt::test]
async fn an_unknown_key_is_looked_up_once_in_a_while() {
    let (first, second) = (Key::ec("1"), Key::ec("2"));
    let issuer = Issuer::new(&[&first]);
    let mesh = issuer.mesh(&["auth.jwt.cooldown=400ms", "auth.jwt.refresh=1h"]);
    let door = served(&mesh, &first).await;
    let before = issuer.asked();
    tokio::time::sleep(Duration::from_millis(450)).await;
    issuer.serve(&[&first, &second]);
    assert_eq!(ask(door, &second.good()).await.status, 200, "a new key counts at once");
    assert_eq!(issuer.asked(), before + 1);
    // whoever makes up keys does not make this door a nuisance to the issuer
    let strangers: Vec<_> = (0..20).map(|_| Key::ec("3").good()).collect();
    let begin = Instant::now();
    for token in &strangers {
        refused(&ask(door, token).await, 401, "unauthorized", "does not have");
    }
    let most = before + 1 + usize::try_from(begin.elapsed().as_millis() / 400).unwrap() + 1;
    assert!(issuer.asked() <= most, "one read in a cool-down: {} of {most}", issuer.asked());
    let before = issuer.asked();
    tokio::time::sleep(Duration::from_millis(450)).await;
    let asks: Vec<_> = strangers.iter().map(|token| ask(door, token)).collect();
    for answer in futures_util::future::join_all(asks).await {
        assert_eq!(answer.status, 401);
    }
    assert!((before + 1..=before + 2).contains(&issuer.asked()), "they wait for one read: {}", issuer.asked() - before);
}

/// An issuer that hangs is no lever: those with made-up keys wait in small number, and nobody else waits at all.
#[actix_rt::test]
async fn a_hanging_issuer_holds_up_few() {
    let key = Key::ec("1");
    let issuer = Issuer::new(&[&key]);
    let mesh = issuer.mesh(&["auth.jwt.cooldown=50ms", "auth.jwt.refresh=1h"]);
    let door = served(&mesh, &key).await;
    tokio::time::sleep(Duration::from_millis(60)).await;
    issuer.hang();
    let stranger = Key::ec("2").good();
    let streams: Vec<_> = futures_util::future::join_all((0..100).map(|_| {
        let head = format!("POST /v1/predict HTTP/1.1\r\nAuthorization: Bearer {stranger}");
        async move { mesh::send(door, &head, b"{}").await }
    }))
    .await;
    let refusals = "forebay_auth_refused_total{reason=\"issuer\"}";
    until("a bound", async || mesh.metric(refusals) >= Some(36.0)).await;
    let begin = Instant::now();
    assert_eq!(ask(door, &key.good()).await.status, 200);
    assert!(begin.elapsed() < Duration::from_secs(4), "known keys need no issuer: {:?}", begin.elapsed());
    drop(streams);
}

#[actix_rt::test]
async fn a_key_that_the_issuer_takes_back_no_longer_counts() {
    let (old, new) = (Key::ec("old"), Key::ed("new"));
    let issuer = Issuer::new(&[&old]);
    let mesh = issuer.mesh(&["auth.jwt.refresh=100ms"]);
    let door = served(&mesh, &old).await;
    let token = old.good();
    assert_eq!(ask(door, &token).await.status, 200);
    issuer.serve(&[&new]);
    until("the end of the old key", async || ask(door, &token).await.status == 401).await;
    assert_eq!(ask(door, &new.good()).await.status, 200);
    // an issuer that is away, or talks nonsense, changes nothing
    issuer.away.store(true, Ordering::SeqCst);
    let failures = "forebay_auth_reload_failures_total{what=\"jwks\"}";
    until("a failure", async || mesh.metric(failures) > Some(0.0)).await;
    assert_eq!(ask(door, &new.good()).await.status, 200);
    *issuer.keys.lock().unwrap() = "<html>".to_owned();
    issuer.away.store(false, Ordering::SeqCst);
    let before = mesh.metric(failures);
    until("another failure", async || mesh.metric(failures) > before).await;
    assert_eq!(ask(door, &new.good()).await.status, 200);
}

#[actix_rt::test]
async fn an_issuer_that_is_away_at_the_start_is_waited_for() {
    let key = Key::rsa("r");
    let issuer = Issuer::new(&[&key]);
    issuer.away.store(true, Ordering::SeqCst);
    let mesh = issuer.mesh(&["auth.jwt.cooldown=50ms"]);
    let door = mesh.serve().address;
    let early = ask(door, &key.good()).await;
    refused(&early, 503, "unavailable", "keys are not known yet");
    assert_eq!(early.header("retry-after"), Some("1"));
    let unready = |mesh: &Mesh| {
        mesh.host.lifecycle().components().into_iter().any(|it| it.name.contains("issuer") && it.unready.is_some())
    };
    assert!(unready(&mesh), "the replica is not ready");
    issuer.away.store(false, Ordering::SeqCst);
    until("the issuer", async || ask(door, &key.good()).await.status == 200).await;
    until("readiness", async || !unready(&mesh)).await;
}

/// Who stands between the door and the issuer must not be able to slip keys in.
#[actix_rt::test]
async fn the_issuer_shows_a_certificate_of_the_authority_that_is_trusted() {
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
    let door = doubting.serve().address;
    let failures = "forebay_auth_reload_failures_total{what=\"jwks\"}";
    until("a failure", async || doubting.metric(failures) > Some(0.0)).await;
    refused(&ask(door, &key.good()).await, 503, "unavailable", "keys are not known yet");
}

#[actix_rt::test]
async fn keys_in_a_file_and_beside_api_keys() {
    let (signer, api) = (Key::ed("f"), forebay_ingestion::auth::ApiKey::generate().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let (jwks, keys) = (folder.path().join("jwks.json"), folder.path().join("keys"));
    std::fs::write(&jwks, json!({ "keys": [signer.jwk()] }).to_string()).unwrap();
    std::fs::write(&keys, format!("alice {} rate=1000\n", api.hash())).unwrap();
    let flags = [
        format!("auth.jwt.jwks=file:{}", jwks.display()),
        format!("auth.keys_file={}", keys.display()),
        "auth.jwt.issuer=https://issuer".to_owned(),
        "auth.jwt.audience=forebay".to_owned(),
        "auth.rate=1".to_owned(),
        "auth.burst=1".to_owned(),
        "auth.jwt.refresh=100ms".to_owned(),
    ];
    let mut mesh = Mesh::start(&flags.iter().map(String::as_str).collect::<Vec<_>>());
    let door = mesh.serve().address;
    until("the file", async || {
        let head = format!(
            "GET /v1/models HTTP/1.1\r\nAuthorization: Bearer {}",
            signer.token(&signer.header(), &but(json!({ "sub": "x" })))
        );
        call(door, &head, b"").await.code() == "unavailable"
    })
    .await;
    // the key alice and the subject alice are two callers
    let mut asks = Vec::new();
    for credential in [format!("Bearer {}", signer.good()), format!("Bearer {}", api.expose())] {
        let head = format!("POST /v1/predict HTTP/1.1\r\nIdempotency-Key: k\r\nAuthorization: {credential}");
        let stream = mesh::send(door, &head, br#"{"features":[1]}"#).await;
        let items = mesh.items(1).await;
        asks.push(items[0].context.request_id());
        mesh.reply(items.into_iter().map(mesh::sum).collect());
        assert_eq!(mesh::receive(stream).await.status, 200);
    }
    assert_ne!(asks[0], asks[1]);
    mesh.answer_all();
    let again = mesh::shed(async || ask(door, &signer.good()).await).await;
    refused(&again, 429, "overloaded", "requests a second, the limit of alice");
}
