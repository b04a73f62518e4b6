//! Certificates for the connection to an MLflow server.

use std::path::Path;
use std::sync::{Arc, Once};

use forebay_artefact::Fault;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

use crate::TlsOptions;

/// Largest PEM file that is read, in bytes; the bundle of a distribution has a quarter of this size.
const MAX_PEM: u64 = 1 << 20;

/// Reads the files that `options` names. Without any, Mozilla's root certificates are trusted.
///
/// # Errors
/// A [`Fault`] naming the file that cannot be read or holds no certificate or key.
pub(super) fn config(options: &TlsOptions) -> Result<TlsConfig, Fault> {
    static WARNED: Once = Once::new();
    let mut builder = TlsConfig::builder();
    if let Some(path) = &options.server_cert {
        let (certificates, _) = read(path)?;
        builder = builder.root_certs(RootCerts::Specific(Arc::new(certificates)));
    }
    if let Some(path) = &options.client_cert {
        let (certificates, key) = read(path)?;
        let key = key.ok_or_else(|| Fault::new(path.display().to_string(), "holds no private key"))?;
        builder = builder.client_cert(Some(ClientCert::new_with_certs(&certificates, key)));
    }
    if options.insecure {
        WARNED
            .call_once(|| tracing::warn!("the certificate of the model registry is not checked (models.insecure_tls)"));
        builder = builder.disable_verification(true);
    }
    Ok(builder.build())
}

fn read(path: &Path) -> Result<(Vec<Certificate<'static>>, Option<PrivateKey<'static>>), Fault> {
    let shown = path.display().to_string();
    let fault = |reason: String| Fault::new(shown.clone(), reason);
    let size = std::fs::metadata(path).map_err(|e| fault(e.to_string()))?.len();
    if size > MAX_PEM {
        return Err(fault(format!("larger than {MAX_PEM} bytes")));
    }
    let bytes = std::fs::read(path).map_err(|e| fault(e.to_string()))?;
    let (mut certificates, mut key) = (Vec::new(), None);
    for item in parse_pem(&bytes) {
        match item.map_err(|e| fault(e.to_string()))? {
            PemItem::Certificate(certificate) => certificates.push(certificate),
            PemItem::PrivateKey(found) => key = Some(found),
            _ => {}
        }
    }
    if certificates.is_empty() {
        return Err(fault("holds no certificate in PEM form".to_owned()));
    }
    Ok((certificates, key))
}
