//! A small token issuer on loopback, and the tokens that it signs.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use serde_json::{Value, json};

use crate::mesh::{Mesh, Response, call, until};

/// Only for tests: ring cannot generate RSA keys.
const RSA: &[u8] = include_bytes!("rsa2048.pk8");

enum Pair {
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

/// A key of the issuer.
pub(crate) struct Key {
    pub(crate) id: &'static str,
    pair: Pair,
}

impl Key {
    pub(crate) fn ec(id: &'static str) -> Self {
        let (algorithm, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Self { id, pair: Pair::Ec(EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap()) }
    }

    pub(crate) fn ed(id: &'static str) -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self { id, pair: Pair::Ed(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap()) }
    }

    pub(crate) fn rsa(id: &'static str) -> Self {
        Self { id, pair: Pair::Rsa(RsaKeyPair::from_pkcs8(RSA).unwrap()) }
    }

    pub(crate) fn algorithm(&self) -> &'static str {
        match self.pair {
            Pair::Ec(_) => "ES256",
            Pair::Ed(_) => "EdDSA",
            Pair::Rsa(_) => "RS256",
        }
    }

    pub(crate) fn jwk(&self) -> Value {
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

    pub(crate) fn sign_as(&self, message: &[u8], padding: &'static dyn ring::signature::RsaEncoding) -> Vec<u8> {
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

    pub(crate) fn header(&self) -> Value {
        json!({ "alg": self.algorithm(), "typ": "JWT", "kid": self.id })
    }

    /// A token with this header and these claims.
    pub(crate) fn token(&self, header: &Value, claims: &Value) -> String {
        let message = message(header, claims);
        format!("{message}.{}", BASE64.encode(self.sign(message.as_bytes())))
    }

    pub(crate) fn good(&self) -> String {
        self.token(&self.header(), &claims())
    }
}

pub(crate) fn message(header: &Value, claims: &Value) -> String {
    format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()))
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub(crate) fn claims() -> Value {
    json!({ "iss": "https://issuer", "aud": "forebay", "sub": "alice", "exp": now() + 600, "nbf": now() - 5, "scope": "read score" })
}

pub(crate) fn but(change: Value) -> Value {
    let mut claims = claims();
    for (key, value) in change.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(key)),
            value => claims[key] = value.clone(),
        }
    }
    claims
}

/// Serves a key set and counts the requests for it.
pub(crate) struct Issuer {
    address: SocketAddr,
    scheme: &'static str,
    pub(crate) keys: Arc<Mutex<String>>,
    requests: Arc<AtomicUsize>,
    pub(crate) away: Arc<AtomicBool>,
    hangs: Arc<AtomicBool>,
}

impl Issuer {
    pub(crate) fn new(keys: &[&Key]) -> Self {
        Self::start("http", keys, |mut socket, body| answer(&mut socket, body))
    }

    /// Serves the key set over TLS with the certificate in `config`.
    pub(crate) fn secure(keys: &[&Key], config: rustls::ServerConfig) -> Self {
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
            requests: Arc::default(),
            away: Arc::default(),
            hangs: Arc::default(),
        };
        issuer.serve(keys);
        let (keys, requests, away) = (Arc::clone(&issuer.keys), Arc::clone(&issuer.requests), Arc::clone(&issuer.away));
        let hangs = Arc::clone(&issuer.hangs);
        // ends with the process of the test
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for socket in listener.incoming().map_while(Result::ok) {
                if hangs.load(Ordering::SeqCst) {
                    held.push(socket);
                    continue;
                }
                requests.fetch_add(1, Ordering::SeqCst);
                if !away.load(Ordering::SeqCst) {
                    let body = keys.lock().unwrap().clone();
                    exchange(socket, &body);
                }
            }
        });
        issuer
    }

    pub(crate) fn serve(&self, keys: &[&Key]) {
        *self.keys.lock().unwrap() =
            json!({ "keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>() }).to_string();
    }

    /// From now on, accepts connections without answering.
    pub(crate) fn hang(&self) {
        self.hangs.store(true, Ordering::SeqCst);
    }

    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    pub(crate) fn mesh(&self, flags: &[&str]) -> Mesh {
        let jwks = format!("auth.jwt.jwks={}://localhost:{}/keys", self.scheme, self.address.port());
        let mut all = vec![jwks.as_str(), "auth.jwt.issuer=https://issuer", "auth.jwt.audience=forebay"];
        all.extend(flags);
        let mut mesh = Mesh::start(&all);
        mesh.answer_all();
        mesh
    }
}

pub(crate) fn answer(socket: &mut (impl Read + Write), body: &str) {
    let mut seen = Vec::new();
    let mut byte = [0];
    while !seen.ends_with(b"\r\n\r\n") && matches!(socket.read(&mut byte), Ok(1)) {
        seen.push(byte[0]);
    }
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    drop(socket.write_all(format!("{head}{body}").as_bytes()));
}

pub(crate) async fn predict_with(server: SocketAddr, token: &str) -> Response {
    let head = format!("POST /v1/predict HTTP/1.1\r\nAuthorization: Bearer {token}");
    call(server, &head, br#"{"features":[1,2]}"#).await
}

#[track_caller]
pub(crate) fn refused(answer: &Response, status: u16, code: &str, why: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{answer:?}");
    assert!(answer.body.contains(why), "{why}: {answer:?}");
}

pub(crate) async fn served(mesh: &Mesh, key: &Key) -> SocketAddr {
    let server = mesh.serve().address;
    until("the issuer's keys", async || predict_with(server, &key.good()).await.status == 200).await;
    server
}
