//! The certificates of the HTTP and the gRPC listener, with rustls and ring. Changed files are reloaded for new connections; if a file
//! is invalid, the previous certificates stay in use.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use forebay_runtime::{Problems, StartError, shown};
use parking_lot::Mutex;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
};

use crate::settings::HttpTlsSettings;

/// Files are read up to this size.
const MAX_FILE: u64 = 1 << 20;

/// The certificate, key and client authorities in use. Shared with rustls, replaced by `refresh`.
#[derive(Debug)]
pub(crate) struct ServerCertificates {
    files: HttpTlsSettings,
    provider: Arc<CryptoProvider>,
    server: ArcSwap<CertifiedKey>,
    clients: Option<ArcSwap<ClientAuthorities>>,
    /// Digest of the last read, valid or not: its content, or the error.
    last_read: Mutex<blake3::Hash>,
}

/// The authorities that may issue client certificates.
#[derive(Debug)]
struct ClientAuthorities(Arc<dyn ClientCertVerifier>);

/// Contents of the files.
struct Pem {
    chain: Vec<u8>,
    key: Vec<u8>,
    authorities: Option<Vec<u8>>,
}

impl ServerCertificates {
    /// The certificates that the settings name; `None` if they name none.
    ///
    /// # Errors
    /// If a file cannot be used; the error names its setting.
    pub(crate) fn of(files: &HttpTlsSettings) -> Result<Option<Arc<Self>>, StartError> {
        let opened = files.is_on().then(|| Self::open(files)).transpose();
        opened.map_err(|(key, text)| StartError::setting(key, text))
    }

    /// Reads the files for the first time.
    ///
    /// # Errors
    /// The setting and what is wrong with its file.
    pub(crate) fn open(files: &HttpTlsSettings) -> Result<Arc<Self>, (&'static str, String)> {
        let provider = Arc::new(ring::default_provider());
        let pem = Pem::read(files)?;
        let (server, clients) = pem.parse(&provider)?;
        Ok(Arc::new(Self {
            files: files.clone(),
            provider,
            server: ArcSwap::new(Arc::new(server)),
            clients: clients.map(|clients| ArcSwap::new(Arc::new(clients))),
            last_read: Mutex::new(pem.digest()),
        }))
    }

    /// The TLS configuration of the listener.
    ///
    /// # Errors
    /// If rustls rejects the protocol versions, which it does not with ring's defaults.
    pub(crate) fn config(self: &Arc<Self>) -> Result<ServerConfig, Error> {
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider));
        let builder = builder.with_safe_default_protocol_versions()?;
        if self.clients.is_none() {
            return Ok(builder
                .with_no_client_auth()
                .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>));
        }
        let verifier = Arc::clone(self) as Arc<dyn ClientCertVerifier>;
        let mut config = builder
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        // a resumed session shows no certificate, so it would outlive the removal of its authority
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// When the certificate in use expires, Unix seconds.
    pub(crate) fn expiry_s(&self) -> Option<i64> {
        let server = self.server.load();
        let (_, certificate) = x509_parser::parse_x509_certificate(server.cert.first()?).ok()?;
        Some(certificate.validity().not_after.timestamp())
    }

    /// Reloads the files if they have changed. Returns `false` if they are invalid for a new reason.
    pub(crate) fn refresh(&self) -> bool {
        let reloaded = Pem::read(&self.files).and_then(|pem| {
            let digest = pem.digest();
            if *self.last_read.lock() == digest {
                return Ok(false);
            }
            let (server, clients) = pem.parse(&self.provider)?;
            *self.last_read.lock() = digest;
            self.server.store(Arc::new(server));
            if let (Some(clients), Some(current)) = (clients, &self.clients) {
                current.store(Arc::new(clients));
            }
            Ok(true)
        });
        match reloaded {
            Ok(changed) => {
                if changed {
                    let file = shown("http.tls.cert_file", &self.files.cert_file);
                    tracing::info!(file, "tls certificates reloaded");
                }
                true
            }
            Err((setting, reason)) => {
                // logged once for each new reason
                let digest = blake3::hash(reason.as_bytes());
                let known = std::mem::replace(&mut *self.last_read.lock(), digest) == digest;
                if !known {
                    tracing::error!(setting, reason, "tls certificates cannot be read, the previous ones stay in use");
                }
                known
            }
        }
    }

    fn clients(&self) -> Arc<dyn ClientCertVerifier> {
        self.clients
            .as_ref()
            .map_or_else(|| WebPkiClientVerifier::no_client_auth(), |clients| Arc::clone(&clients.load().0))
    }
}

impl Pem {
    fn read(files: &HttpTlsSettings) -> Result<Self, (&'static str, String)> {
        let read = |setting: &'static str, path: &str| {
            let mut bytes = Vec::new();
            let opened = std::fs::File::open(path).and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes));
            opened
                .map(|_| bytes)
                .map_err(|error| (setting, format!("{} cannot be read: {error}", shown(setting, path))))
        };
        let authorities =
            (!files.client_ca_file.is_empty()).then(|| read("http.tls.client_ca_file", &files.client_ca_file));
        Ok(Self {
            chain: read("http.tls.cert_file", &files.cert_file)?,
            key: read("http.tls.key_file", &files.key_file)?,
            authorities: authorities.transpose()?,
        })
    }

    fn digest(&self) -> blake3::Hash {
        let mut hash = blake3::Hasher::new();
        for part in [&self.chain[..], &self.key, self.authorities.as_deref().unwrap_or_default()] {
            hash.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        hash.finalize()
    }

    fn parse(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<(CertifiedKey, Option<ClientAuthorities>), (&'static str, String)> {
        let chain = certificates(&self.chain).map_err(|why| ("http.tls.cert_file", why))?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|_| ("http.tls.key_file", "holds no private key in PEM form".to_owned()))?;
        let server = CertifiedKey::from_der(chain, key, provider)
            .map_err(|error| ("http.tls.key_file", format!("does not match the certificate: {error}")))?;
        let Some(authorities) = &self.authorities else { return Ok((server, None)) };
        let wrong = |why: String| ("http.tls.client_ca_file", why);
        let mut roots = RootCertStore::empty();
        for certificate in certificates(authorities).map_err(wrong)? {
            roots.add(certificate).map_err(|error| wrong(format!("cannot be used: {error}")))?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build();
        Ok((server, Some(ClientAuthorities(verifier.map_err(|error| wrong(error.to_string()))?))))
    }
}

/// Checks the section `[http.tls]`, files included.
pub(crate) fn check(tls: &HttpTlsSettings, problems: &mut Problems) {
    match (tls.cert_file.is_empty(), tls.key_file.is_empty()) {
        (true, false) => problems.add("http.tls.cert_file", "is empty, but http.tls.key_file is set"),
        (false, true) => problems.add("http.tls.key_file", "is empty, but http.tls.cert_file is set"),
        (true, true) if !tls.client_ca_file.is_empty() => {
            problems.add("http.tls.client_ca_file", "is set without http.tls.cert_file: client certificates need TLS");
        }
        (false, false) => {
            if let Err((key, why)) = ServerCertificates::open(tls) {
                problems.add(key, why);
            }
        }
        (true, true) => {}
    }
    if tls.refresh < Duration::from_millis(50) {
        problems.add("http.tls.refresh", "is shorter than 50ms, the minimum");
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| format!("is not PEM: {error}"))?;
    if found.is_empty() { Err("holds no certificate in PEM form".to_owned()) } else { Ok(found) }
}

impl ResolvesServerCert for ServerCertificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.server.load_full())
    }
}

/// Delegates to the authorities that are in use at the time of the handshake.
impl ClientCertVerifier for ServerCertificates {
    /// Sends no hints: they would not follow a reload, and a client that relies on them would withhold a valid certificate.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.clients().verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.clients().verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.clients().verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.clients().supported_verify_schemes()
    }
}
