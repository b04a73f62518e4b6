//! Authentication and TLS.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::bench::*;
use forebay_registry::{Registry, RegistryCredentials, RegistryError, RegistryOptions, TlsOptions};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

#[test]
fn basic_and_bearer() {
    let fake = Fake::start();
    fake.register(MODEL, 1, &linear());
    // reader:p@ss
    fake.content().authorization = Some("Basic cmVhZGVyOnBAc3M=".to_owned());
    let basic = |password: &str| RegistryCredentials::Basic { username: "reader".into(), password: password.into() };
    let with = |credentials| RegistryOptions { credentials, ..options(&fake) };
    assert!(open(&with(basic("p@ss"))).load(MODEL, 1, open_model).is_ok());
    let error = refused(&with(basic("hidden")));
    assert!(
        matches!(&error, RegistryError::Refused { status: 401, message, .. } if message.contains("not authenticated"))
    );
    assert!(!error.to_string().contains("hidden"), "{error}");
    assert!(matches!(refused(&options(&fake)), RegistryError::Refused { status: 401, .. }));

    let inside = |user: &str| fake.url().replace("http://", &format!("http://{user}@"));
    let registry = open(&RegistryOptions { location: inside("reader:p%40ss"), ..options(&fake) });
    assert!(!format!("{registry:?}{}", registry.location()).contains("p%40ss"));
    let error = refused(&RegistryOptions { location: inside("reader:hidden"), ..options(&fake) });
    assert!(!error.to_string().contains("hidden"), "{error}");

    fake.content().authorization = Some("Bearer token-1".to_owned());
    assert!(open(&with(RegistryCredentials::Bearer("token-1".into()))).load(MODEL, 1, open_model).is_ok());
    assert!(refused(&with(RegistryCredentials::Bearer("token-2".into()))).is_denied());
    let unusable = refused(&with(RegistryCredentials::Bearer("two\nlines".into())));
    assert!(matches!(unusable, RegistryError::Location { .. }), "{unusable}");
}

/// Answers every request on a port of its own with a redirect to `to`; how many there were.
fn redirecting(to: String) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, requests) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
    let counter = Arc::clone(&requests);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let _ = stream.read(&mut [0; 4096]);
            counter.fetch_add(1, Ordering::SeqCst);
            let _ = write!(
                stream,
                "HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
        }
    });
    (port, requests)
}

#[test]
fn a_redirect_to_another_server_is_not_followed() {
    let fake = Fake::start();
    fake.register(MODEL, 1, &linear());
    let (other, requests) = redirecting("/".to_owned());
    let (first, _) = redirecting(format!("http://127.0.0.1:{other}/api"));
    let error = refused(&RegistryOptions { location: format!("http://127.0.0.1:{first}"), ..options(&fake) });
    assert!(error.to_string().contains("another server"), "{error}");
    assert_eq!(requests.load(Ordering::SeqCst), 0);
    // on its own host a redirect is followed, and not for ever
    let (round, requests) = redirecting("/again".to_owned());
    let error = refused(&RegistryOptions { location: format!("http://127.0.0.1:{round}"), ..options(&fake) });
    assert!(error.to_string().contains("302"), "{error}");
    assert_eq!(requests.load(Ordering::SeqCst), 4);
}

#[test]
fn a_server_that_forbids_says_why() {
    let fake = Fake::start();
    fake.register(MODEL, 1, &linear());
    fake.fault(
        "registered-models/get",
        1,
        Fault::Status(403, "Invalid Host header - possible DNS rebinding attack detected"),
    );
    let error = refused(&options(&fake));
    assert!(error.is_denied() && error.to_string().contains("status 403: Invalid Host header"), "{error}");
}

/// A TLS proxy in front of the fake, with certificates of a separate authority.
struct Tls {
    port: u16,
    folder: tempfile::TempDir,
}

fn key_pair() -> rcgen::KeyPair {
    rcgen::KeyPair::generate().unwrap()
}

impl Tls {
    fn start(fake: &Fake, client_needed: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority_key = key_pair();
        let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = rcgen::CertifiedIssuer::self_signed(authority, authority_key).unwrap();
        let issue = |name: &str| {
            let key = key_pair();
            let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
            (params.signed_by(&key, &authority).unwrap(), key)
        };
        let (server, server_key) = issue("localhost");
        let (client, client_key) = issue("client");
        let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
        write("ca.pem", authority.pem());
        write("client.pem", format!("{}{}", client.pem(), client_key.serialize_pem()));
        write("no-key.pem", client.pem());

        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let builder = if client_needed {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(authority.der().clone()).unwrap();
            let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let chain: Vec<CertificateDer<'static>> = vec![server.der().clone()];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(server_key.serialize_der()));
        let config = Arc::new(builder.with_single_cert(chain, key).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, plain) = (listener.local_addr().unwrap().port(), fake.port());
        // ends with the test's process; each connection carries one exchange
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let config = Arc::clone(&config);
                std::thread::spawn(move || exchange(socket, config, plain));
            }
        });
        Self { port, folder }
    }

    fn file(&self, name: &str) -> Option<PathBuf> {
        Some(self.folder.path().join(name))
    }

    fn options(&self, fake: &Fake, tls: TlsOptions) -> RegistryOptions {
        RegistryOptions { location: format!("https://localhost:{}", self.port), tls, ..options(fake) }
    }
}

/// Forwards one request from the TLS connection to the fake, and returns its response.
fn exchange(mut socket: TcpStream, config: Arc<rustls::ServerConfig>, plain: u16) {
    let Ok(mut connection) = rustls::ServerConnection::new(config) else { return };
    let mut tls = rustls::Stream::new(&mut connection, &mut socket);
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        if !matches!(tls.read(&mut byte), Ok(1)) {
            return;
        }
        request.push(byte[0]);
    }
    let text = String::from_utf8(request).unwrap().replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
    let mut server = TcpStream::connect(("127.0.0.1", plain)).unwrap();
    server.write_all(text.as_bytes()).unwrap();
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).unwrap();
    let _ = tls.write_all(&answer);
    tls.conn.send_close_notify();
    let _ = tls.flush();
    let _ = socket.shutdown(Shutdown::Write);
}

#[test]
fn an_authority_of_ones_own() {
    let fake = Fake::start();
    fake.register(MODEL, 1, &linear());
    let tls = Tls::start(&fake, false);
    let error = refused(&tls.options(&fake, TlsOptions::default()));
    assert!(error.to_string().to_lowercase().contains("issuer"), "{error}");
    let trusted = TlsOptions { server_cert: tls.file("ca.pem"), ..TlsOptions::default() };
    assert!(open(&tls.options(&fake, trusted)).load(MODEL, 1, open_model).is_ok());
    let unchecked = TlsOptions { insecure: true, ..TlsOptions::default() };
    assert!(open(&tls.options(&fake, unchecked)).load(MODEL, 1, open_model).is_ok());
}

#[test]
fn a_client_with_a_certificate() {
    let fake = Fake::start();
    fake.register(MODEL, 1, &linear());
    let tls = Tls::start(&fake, true);
    let server_cert = tls.file("ca.pem");
    let anonymous = TlsOptions { server_cert: server_cert.clone(), ..TlsOptions::default() };
    assert!(Registry::open_with(&tls.options(&fake, anonymous)).is_err());
    let known = TlsOptions { server_cert, client_cert: tls.file("client.pem"), ..TlsOptions::default() };
    assert!(open(&tls.options(&fake, known)).load(MODEL, 1, open_model).is_ok());
}

#[test]
fn certificates_that_cannot_be_used() {
    let fake = Fake::start();
    let tls = Tls::start(&fake, false);
    std::fs::write(tls.folder.path().join("text.pem"), "not a certificate").unwrap();
    let of = |server: Option<PathBuf>, client: Option<PathBuf>| {
        let options = TlsOptions { server_cert: server, client_cert: client, insecure: false };
        refused(&tls.options(&fake, options)).to_string()
    };
    assert!(of(Some(Path::new("no/such.pem").into()), None).contains("no/such.pem"));
    assert!(of(tls.file("text.pem"), None).contains("holds no certificate"));
    assert!(of(None, tls.file("no-key.pem")).contains("holds no private key"));
}
