//! `forebay keys init`: what an HTTP endpoint needs that other machines can reach: a file of keys with a first key in it, and
//! a certificate.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use forebay_ingestion::auth::{ApiKey, KeyLine};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};

/// Files of a new folder: lines of keys, the first key, the authority, its certificate and the certificate's private key.
const FILES: [&str; 5] = ["keys", "api-key", "ca.crt", "tls.crt", "tls.key"];
/// Those that only their owner may read.
const PRIVATE: [&str; 2] = ["api-key", "tls.key"];

/// Arguments of `forebay keys init`.
#[derive(Debug, clap::Args)]
pub(crate) struct Init {
    /// The folder for the files; none of them may be there yet
    folder: PathBuf,
    /// Whom the first key is for
    #[arg(long, default_value = "first")]
    name: String,
    /// A name or address under which clients reach the endpoint, besides those of this machine; may be repeated
    #[arg(long = "host", value_name = "NAME")]
    hosts: Vec<String>,
}

pub(super) const AFTER_HELP: &str = "Example:
  forebay keys init secrets --host forebay-ingestion.forebay
  forebay up --set http.listen=0.0.0.0:8080 --set auth.keys_file=secrets/keys \\
    --set http.tls.cert_file=secrets/tls.crt --set http.tls.key_file=secrets/tls.key
  forebay predict --url https://localhost:8080 --ca secrets/ca.crt --api-key-file secrets/api-key ...

Files: keys (lines of keys), api-key (the first key itself, for its client), tls.crt and tls.key (valid for a year),
ca.crt (for clients). The authority's own key is not kept. On Kubernetes:
  kubectl -n forebay create secret generic forebay-api-keys --from-file=keys=secrets/keys
  kubectl -n forebay create secret tls forebay-http-tls --cert=secrets/tls.crt --key=secrets/tls.key";

/// Writes the files and says where they are.
pub(super) fn run(init: &Init) -> Result<String, String> {
    if let Some(host) = init.hosts.iter().find(|host| !is_host(host)) {
        return Err(format!("--host {host:?} is neither a host name nor an IP address"));
    }
    let key = ApiKey::generate()?;
    let line = KeyLine::new(&init.name, key.hash(), None)?;
    let (authority, chain, private) = certificate(&init.hosts)?;
    let contents = [format!("{line}\n"), format!("{}\n", key.expose()), authority, chain, private];
    fs::create_dir_all(&init.folder).map_err(|error| format!("{}: {error}", init.folder.display()))?;
    let paths = FILES.map(|name| init.folder.join(name));
    if let Some(path) = paths.iter().find(|path| path.exists()) {
        return Err(format!("{} is there already, and is not replaced", path.display()));
    }
    for (path, text) in paths.iter().zip(&contents) {
        write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(format!("{}\n", paths.map(|path| path.display().to_string()).join("\n")))
}

/// Whether a certificate can name it: an IP address, or labels of letters, digits, hyphens and underscores, the first perhaps `*`.
fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        let plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        !label.is_empty() && label.len() <= 63 && plain
    };
    let name = text.strip_prefix("*.").unwrap_or(text);
    text.parse::<IpAddr>().is_ok() || (text.len() <= 253 && name.split('.').all(label))
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let private = PRIVATE.iter().any(|name| path.ends_with(name));
    let mode = if private { 0o600 } else { 0o644 };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// An authority's certificate, the chain of a server's certificate that it issued for a year, and the server's private key, as
/// PEM. The authority's key is dropped, so that nothing else can be issued with it.
fn certificate(hosts: &[String]) -> Result<(String, String, String), String> {
    let wrong = |error: rcgen::Error| format!("a certificate cannot be made: {error}");
    let today = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let part = |range: std::ops::Range<usize>| today.get(range).and_then(|text| text.parse::<u16>().ok()).unwrap_or(1);
    // the 28th is in every month
    let (year, month, day) = (i32::from(part(0..4)), part(5..7) as u8, part(8..10).min(28) as u8);
    let named = |names: Vec<String>, name: &str| -> Result<CertificateParams, rcgen::Error> {
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = date_time_ymd(year, month, day);
        params.not_after = date_time_ymd(year + 1, month, day);
        Ok(params)
    };
    let mut authority = named(Vec::new(), "forebay keys init").map_err(wrong)?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().map_err(wrong)?).map_err(wrong)?;
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    names.extend_from_slice(hosts);
    let key = KeyPair::generate().map_err(wrong)?;
    let server = named(names, "forebay").and_then(|params| params.signed_by(&key, &authority)).map_err(wrong)?;
    Ok((authority.pem(), server.pem(), key.serialize_pem()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn nothing_is_replaced_and_what_is_secret_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let init = Init { folder: folder.path().join("new"), name: "reports".to_owned(), hosts: Vec::new() };
        run(&init).unwrap();
        for name in FILES {
            let mode = fs::metadata(init.folder.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o077 == 0, PRIVATE.contains(&name), "{name}");
        }
        let keys = fs::read_to_string(init.folder.join("keys")).unwrap();
        assert!(run(&init).unwrap_err().contains("is there already"));
        assert_eq!(fs::read_to_string(init.folder.join("keys")).unwrap(), keys);
        let named = |hosts: &[&str]| hosts.iter().map(|host| (*host).to_owned()).collect();
        let init = Init { folder: folder.path().join("hosts"), hosts: named(&["bad host"]), ..init };
        assert!(run(&init).unwrap_err().contains("--host \"bad host\" is neither a host name nor an IP address"));
        assert!(["a.b-c.example", "*.example", "10.0.0.1", "::1"].iter().all(|host| is_host(host)));
        assert!(["", "a..b", "a/b", "*", &"x".repeat(64)].iter().all(|host| !is_host(host)));
        assert!(run(&Init { name: "no name".to_owned(), hosts: Vec::new(), ..init }).is_err());
    }
}
