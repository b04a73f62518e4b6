//! The HTTP door's certificates, by rustls with ring. Files that change are read again; connections made from then on use
//! what they say, and a broken file leaves what was read before in use.

use std::io::Read as _;
use std::sync::Arc;

use arc_swap::ArcSwap;
use forebay_runtime::shown;
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

use crate::settings::Tls;

/// The largest file read.
const LARGEST: u64 = 1 << 20;

/// Certificate, key and authorities in use.
#[derive(Debug)]
pub(crate) struct Certificates {
    files: Tls,
    provider: Arc<CryptoProvider>,
    server: ArcSwap<CertifiedKey>,
    clients: Option<ArcSwap<Authorities>>,
    /// Digest of the files that were read last, good or not.
    read: Mutex<blake3::Hash>,
}

/// Who may issue certificates of clients.
#[derive(Debug)]
struct Authorities(Arc<dyn ClientCertVerifier>);

/// The files' content.
struct Pem {
    chain: Vec<u8>,
    key: Vec<u8>,
    authorities: Option<Vec<u8>>,
}

impl Certificates {
    /// Reads the files for the first time.
    ///
    /// # Errors
    /// The setting, and what is wrong with its file.
    pub(crate) fn open(files: &Tls) -> Result<Arc<Self>, (&'static str, String)> {
        let provider = Arc::new(ring::default_provider());
        let pem = Pem::read(files)?;
        let (server, clients) = pem.understand(&provider)?;
        Ok(Arc::new(Self {
            files: files.clone(),
            provider,
            server: ArcSwap::new(Arc::new(server)),
            clients: clients.map(|clients| ArcSwap::new(Arc::new(clients))),
            read: Mutex::new(pem.digest()),
        }))
    }

    /// What the door needs to speak TLS.
    ///
    /// # Errors
    /// When the library refuses, which it does not with ring's defaults.
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
        // a resumed session is not asked for its certificate again, and would outlive an authority that was taken out
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// When the certificate in use ends, Unix seconds.
    pub(crate) fn expiry_s(&self) -> Option<i64> {
        let server = self.server.load();
        let (_, certificate) = x509_parser::parse_x509_certificate(server.cert.first()?).ok()?;
        Some(certificate.validity().not_after.timestamp())
    }

    /// Looks at the files and takes over what has changed. `false` when they cannot be used, for a reason that is new.
    pub(crate) fn refresh(&self) -> bool {
        let renewed = Pem::read(&self.files).and_then(|pem| {
            let digest = pem.digest();
            if *self.read.lock() == digest {
                return Ok(false);
            }
            let (server, clients) = pem.understand(&self.provider)?;
            *self.read.lock() = digest;
            self.server.store(Arc::new(server));
            if let (Some(clients), Some(current)) = (clients, &self.clients) {
                current.store(Arc::new(clients));
            }
            Ok(true)
        });
        match renewed {
            Ok(changed) => {
                if changed {
                    let file = shown("http.tls.cert_file", &self.files.cert_file);
                    tracing::info!(file, "tls certificates were read again");
                }
                true
            }
            Err((setting, reason)) => {
                // told once for each new reason
                let digest = blake3::hash(reason.as_bytes());
                let known = std::mem::replace(&mut *self.read.lock(), digest) == digest;
                if !known {
                    tracing::error!(setting, reason, "tls certificates cannot be read, those read before stay in use");
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
    fn read(files: &Tls) -> Result<Self, (&'static str, String)> {
        let read = |setting: &'static str, path: &str| {
            let mut bytes = Vec::new();
            let opened = std::fs::File::open(path).and_then(|file| file.take(LARGEST).read_to_end(&mut bytes));
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

    fn understand(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<(CertifiedKey, Option<Authorities>), (&'static str, String)> {
        let chain = certificates(&self.chain).map_err(|why| ("http.tls.cert_file", why))?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|_| ("http.tls.key_file", "holds no private key in PEM form".to_owned()))?;
        let server = CertifiedKey::from_der(chain, key, provider)
            .map_err(|error| ("http.tls.key_file", format!("does not go with the certificate: {error}")))?;
        let Some(authorities) = &self.authorities else { return Ok((server, None)) };
        let wrong = |why: String| ("http.tls.client_ca_file", why);
        let mut roots = RootCertStore::empty();
        for certificate in certificates(authorities).map_err(wrong)? {
            roots.add(certificate).map_err(|error| wrong(format!("cannot be used: {error}")))?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build();
        Ok((server, Some(Authorities(verifier.map_err(|error| wrong(error.to_string()))?))))
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| format!("is not PEM: {error}"))?;
    if found.is_empty() { Err("holds no certificate in PEM form".to_owned()) } else { Ok(found) }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.server.load_full())
    }
}

/// As the authorities in use at the moment say.
impl ClientCertVerifier for Certificates {
    /// No hints: they could not follow the file, and a client that trusts them would keep a good certificate back.
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
