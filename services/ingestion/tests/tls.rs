//! The HTTP server over TLS: real handshakes on loopback, with certificates from authorities made here.
#![cfg(test)]

mod mesh;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use mesh::{LIMIT, Mesh, until, within};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// An authority, and what it issues.
struct Authority(rcgen::CertifiedIssuer<'static, rcgen::KeyPair>);

/// A certificate with its key, as PEM.
#[derive(Clone)]
struct Issued {
    chain: String,
    key: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        Self(rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap())
    }

    fn issue(&self, name: &str) -> Issued {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        Issued { chain: params.signed_by(&key, &self.0).unwrap().pem(), key: key.serialize_pem() }
    }
}

/// Files of a server.
struct Files(tempfile::TempDir);

impl Files {
    fn new(server: &Issued) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.write("cert.pem", &server.chain);
        files.write("key.pem", &server.key);
        files
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.path().join(name), text).unwrap();
    }

    fn flags(&self, client_ca: bool) -> Vec<String> {
        let path = |name: &str| self.0.path().join(name).display().to_string();
        let mut flags = vec![
            format!("http.tls.cert_file={}", path("cert.pem")),
            format!("http.tls.key_file={}", path("key.pem")),
            "http.tls.refresh=50ms".to_owned(),
        ];
        flags.extend(client_ca.then(|| format!("http.tls.client_ca_file={}", path("clients.pem"))));
        flags
    }

    fn mesh(&self, client_ca: bool) -> Mesh {
        let flags = self.flags(client_ca);
        let mut mesh = Mesh::start(&flags.iter().map(String::as_str).collect::<Vec<_>>());
        mesh.answer_all();
        mesh
    }
}

/// A client that trusts one authority; it keeps sessions between its connections.
#[derive(Clone)]
struct Client(Arc<ClientConfig>);

impl Client {
    fn new(trusted: &Authority, own: Option<&Issued>) -> Self {
        Self::with(trusted, own, rustls::DEFAULT_VERSIONS)
    }

    fn with(trusted: &Authority, own: Option<&Issued>, versions: &[&'static rustls::SupportedProtocolVersion]) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(trusted.0.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        let builder = builder.with_root_certificates(roots);
        let config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let chain = CertificateDer::pem_slice_iter(own.chain.as_bytes()).map(Result::unwrap).collect();
                let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        Self(Arc::new(config))
    }

    /// One prediction on a separate connection: the status line, or why there is none.
    async fn request(&self, server: SocketAddr) -> Result<String, String> {
        let config = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || exchange(config, server).map_err(|error| error.to_string())).await.unwrap()
    }
}

fn exchange(config: Arc<ClientConfig>, server: SocketAddr) -> std::io::Result<String> {
    let socket = TcpStream::connect(server)?;
    socket.set_read_timeout(Some(LIMIT))?;
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(config, name).map_err(std::io::Error::other)?;
    let mut tls = StreamOwned::new(connection, socket);
    let head = "POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 18\r\n\r\n";
    tls.write_all(format!("{head}{{\"features\":[1,2]}}").as_bytes())?;
    let mut answer = Vec::new();
    let read = tls.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let line = answer.lines().next().map(str::to_owned);
    line.ok_or_else(|| read.err().unwrap_or_else(|| std::io::Error::other("closed without an answer")))
}

const OK: &str = "HTTP/1.1 200 OK";

#[actix_rt::test]
async fn clients_that_trust_the_authority_connect_over_tls() {
    let (ours, others) = (Authority::new("ours"), Authority::new("others"));
    let files = Files::new(&ours.issue("localhost"));
    let mesh = files.mesh(false);
    let server = mesh.serve();
    assert!(server.secure && server.url().starts_with("https://127.0.0.1:"));
    let (client, server) = (Client::new(&ours, None), server.address);
    assert_eq!(client.request(server).await.as_deref(), Ok(OK));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        assert_eq!(Client::with(&ours, None, &[version]).request(server).await.as_deref(), Ok(OK), "{version:?}");
    }
    let offering = |protocols: &[&[u8]]| {
        let mut config = ClientConfig::clone(&client.0);
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Client(Arc::new(config))
    };
    assert_eq!(offering(&[b"http/1.1"]).request(server).await.as_deref(), Ok(OK));
    let two = offering(&[b"h2", b"http/1.1"]);
    let stream = tokio::net::TcpStream::connect(server).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = tokio_rustls::TlsConnector::from(two.0).connect(name, stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut client_2, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post("https://localhost/v1/predict").body(()).unwrap();
    let (response, mut body) = client_2.send_request(request, false).unwrap();
    body.send_data(bytes::Bytes::from_static(br#"{"features":[1,2]}"#), true).unwrap();
    assert_eq!(within(response).await.unwrap().status(), 200);
    let error = Client::new(&others, None).request(server).await.unwrap_err();
    assert!(error.contains("UnknownIssuer"), "{error}");
    let plain = tokio::task::spawn_blocking(move || {
        let mut socket = TcpStream::connect(server)?;
        socket.set_read_timeout(Some(LIMIT))?;
        socket.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")?;
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer)?;
        std::io::Result::Ok(answer)
    });
    let answer = plain.await.unwrap().unwrap_or_default();
    assert!(!answer.starts_with(b"HTTP"), "no answer without encryption");
}

#[actix_rt::test]
async fn silent_connections_do_not_stop_others() {
    let ours = Authority::new("ours");
    let files = Files::new(&ours.issue("localhost"));
    let mesh = files.mesh(false);
    let server = mesh.serve().address;
    // more than the library would let shake hands at once on two workers
    let silent: Vec<_> = (0..600).map(|_| TcpStream::connect(server).unwrap()).collect();
    let began = std::time::Instant::now();
    assert_eq!(Client::new(&ours, None).request(server).await.as_deref(), Ok(OK));
    assert!(began.elapsed() < std::time::Duration::from_millis(1500), "{:?}", began.elapsed());
    drop(silent);
}

#[actix_rt::test]
async fn only_certificates_of_the_client_authority_are_accepted() {
    let (ours, clients, others) = (Authority::new("ours"), Authority::new("clients"), Authority::new("others"));
    let files = Files::new(&ours.issue("localhost"));
    files.write("clients.pem", &clients.0.pem());
    let mesh = files.mesh(true);
    let server = mesh.serve().address;
    assert_eq!(Client::new(&ours, Some(&clients.issue("client"))).request(server).await.as_deref(), Ok(OK));
    let stranger = Client::new(&ours, Some(&others.issue("client")));
    for (who, client) in [("no certificate", Client::new(&ours, None)), ("a stranger", stranger)] {
        for _ in 0..2 {
            assert!(client.request(server).await.is_err(), "{who}");
        }
    }
}

#[actix_rt::test]
async fn certificates_that_change_are_used_by_new_connections() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let files = Files::new(&old.issue("localhost"));
    let mesh = files.mesh(false);
    let server = mesh.serve().address;
    assert_eq!(Client::new(&old, None).request(server).await.as_deref(), Ok(OK));
    // half of a change: the key does not match the certificate
    let next = new.issue("localhost");
    files.write("cert.pem", &next.chain);
    let failures = "forebay_tls_reload_failures_total";
    until("a failure", async || mesh.metric(failures) == Some(1.0)).await;
    assert_eq!(Client::new(&old, None).request(server).await.as_deref(), Ok(OK), "the old pair stays in use");
    files.write("key.pem", &next.key);
    until("the new certificate", async || Client::new(&new, None).request(server).await.as_deref() == Ok(OK)).await;
    assert!(Client::new(&old, None).request(server).await.is_err());
    // the default expiry of rcgen: the first day of the year 4096
    assert_eq!(mesh.metric("forebay_tls_certificate_expiry_timestamp_seconds"), Some(67_090_118_400.0));
}

#[actix_rt::test]
async fn an_authority_that_is_taken_out_ends_its_clients_sessions() {
    let (ours, before, after) = (Authority::new("ours"), Authority::new("before"), Authority::new("after"));
    let files = Files::new(&ours.issue("localhost"));
    files.write("clients.pem", &before.0.pem());
    let mesh = files.mesh(true);
    let server = mesh.serve().address;
    let clients = [&rustls::version::TLS12, &rustls::version::TLS13]
        .map(|version| Client::with(&ours, Some(&before.issue("client")), &[version]));
    for client in &clients {
        assert_eq!(client.request(server).await.as_deref(), Ok(OK));
    }
    files.write("clients.pem", &after.0.pem());
    let fresh = Client::new(&ours, Some(&after.issue("client")));
    until("the new authority", async || fresh.request(server).await.as_deref() == Ok(OK)).await;
    for client in &clients {
        assert!(client.request(server).await.is_err(), "an earlier session must not be resumed");
    }
}

#[actix_rt::test]
async fn files_that_cannot_be_used_stop_the_start() {
    let ours = Authority::new("ours");
    let (one, other) = (ours.issue("localhost"), ours.issue("localhost"));
    for (name, text, setting) in [
        ("cert.pem", "no pem", "http.tls.cert_file"),
        ("cert.pem", one.key.as_str(), "http.tls.cert_file"),
        ("key.pem", one.chain.as_str(), "http.tls.key_file"),
        ("key.pem", other.key.as_str(), "http.tls.key_file"),
        ("clients.pem", "", "http.tls.client_ca_file"),
    ] {
        let files = Files::new(&one);
        files.write("clients.pem", &ours.0.pem());
        files.write(name, text);
        let flags = files.flags(true);
        let error = Mesh::refused(&flags.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(error.contains(setting), "{name}: {error}");
        assert!(!error.contains("BEGIN"), "{error}");
    }
}
