//! The Redis client of the settings: address, credentials and certificates.

use std::path::Path;

use redis::{Client, ClientTlsConfig, ConnectionAddr, ErrorKind, IntoConnectionInfo as _, RedisError, TlsCertificates};

use crate::settings::RedisSettings;

/// A `redis` setting that cannot be used. The text contains no password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct InvalidRedisSetting {
    /// The setting's key.
    pub key: &'static str,
    /// What is wrong with it.
    pub text: String,
}

impl RedisSettings {
    /// Builds the client, without connecting. The certificate files are read here, so changes take effect at the next
    /// start.
    ///
    /// # Errors
    /// The setting that cannot be used, and why.
    pub fn client(&self) -> Result<Client, InvalidRedisSetting> {
        let unusable = |error: RedisError| {
            invalid(
                "redis.url",
                format!("cannot be used: {error}; expected redis://HOST:PORT/DATABASE, or rediss:// for TLS"),
            )
        };
        let info = self.url.expose().into_connection_info().map_err(unusable)?;
        let mut login = info.redis_settings().clone();
        for (key, inside, here) in [
            ("redis.username", login.username().is_some(), self.username.is_empty()),
            ("redis.password", login.password().is_some(), self.password.is_empty()),
        ] {
            if inside && !here {
                return Err(invalid(key, "is set, but redis.url contains one as well: remove one of them".to_owned()));
            }
        }
        if !self.username.is_empty() {
            if self.password.is_empty() && login.password().is_none() {
                return Err(invalid("redis.username", "is set, but redis.password is empty".to_owned()));
            }
            login = login.set_username(&self.username);
        }
        if !self.password.is_empty() {
            login = login.set_password(self.password.expose());
        }
        let encrypted = matches!(info.addr(), ConnectionAddr::TcpTls { .. });
        let info = info.set_redis_settings(login);
        let Some(certificates) = self.certificates(encrypted)? else { return Client::open(info).map_err(unusable) };
        Client::build_with_tls(info, certificates)
            .map_err(|error| invalid("redis.ca_file", format!("cannot be used: {error}")))
    }

    /// The certificate authorities to trust and the client certificate; `None` for the machine's authorities and no
    /// client certificate.
    fn certificates(&self, encrypted: bool) -> Result<Option<TlsCertificates>, InvalidRedisSetting> {
        let read = |key, path: &Path| -> Result<Option<Vec<u8>>, InvalidRedisSetting> {
            if path.as_os_str().is_empty() {
                return Ok(None);
            }
            if !encrypted {
                return Err(invalid(key, "is set, but redis.url does not use TLS (rediss://)".to_owned()));
            }
            let bytes = std::fs::read(path).map_err(|error| invalid(key, format!("{}: {error}", path.display())))?;
            Ok(Some(bytes))
        };
        let root_cert = read("redis.ca_file", &self.ca_file)?;
        let cert = read("redis.client_cert_file", &self.client_cert_file)?;
        let key = read("redis.client_key_file", &self.client_key_file)?;
        let client_tls = match (cert, key) {
            (Some(client_cert), Some(client_key)) => Some(ClientTlsConfig { client_cert, client_key }),
            (None, None) => None,
            (Some(_), None) => {
                return Err(invalid("redis.client_key_file", "is empty, but redis.client_cert_file is set".to_owned()));
            }
            (None, Some(_)) => {
                return Err(invalid("redis.client_cert_file", "is empty, but redis.client_key_file is set".to_owned()));
            }
        };
        let is_set = root_cert.is_some() || client_tls.is_some();
        Ok(is_set.then_some(TlsCertificates { client_tls, root_cert }))
    }
}

fn invalid(key: &'static str, text: String) -> InvalidRedisSetting {
    InvalidRedisSetting { key, text }
}

/// Whether the server rejects this client, or this client the server's certificate. Waiting does not help; a setting
/// has to change.
pub fn is_rejected(error: &RedisError) -> bool {
    let tls = error.is_io_error() && !error.is_timeout() && !error.is_connection_refusal();
    tls || error.kind() == ErrorKind::AuthenticationFailed
        || matches!(error.code(), Some("NOPERM" | "NOAUTH" | "WRONGPASS"))
}

/// Whether the server cannot take the command in its present state. Another server may be behind the address by now.
pub fn is_refused(error: &RedisError) -> bool {
    let refused = |code: &str| matches!(code, "READONLY" | "OOM" | "MISCONF" | "LOADING" | "MASTERDOWN" | "NOREPLICAS");
    // the error of a pipeline has no code, but its commands' errors have
    let commands = error.clone().into_server_errors();
    error.code().is_some_and(refused) || commands.is_some_and(|all| all.iter().any(|(_, error)| refused(error.code())))
}

#[cfg(test)]
mod tests {
    use forebay_runtime::{Layers, Problems};
    use forebay_testkit::settings;

    use super::*;
    use crate::DEFAULTS;

    fn client(flags: &[&str]) -> Result<Client, InvalidRedisSetting> {
        let section = |layers: &Layers, problems: &mut Problems| layers.section::<RedisSettings>("redis", problems);
        settings(&[DEFAULTS]).flags(flags).read(section).unwrap().client()
    }

    fn key(flags: &[&str]) -> &'static str {
        client(flags).unwrap_err().key
    }

    #[test]
    fn credentials_may_be_set_apart_from_the_address() {
        let flags = ["redis.url=rediss://cache:6380/2", "redis.username=forebay", "redis.password=p@ss:w/rd"];
        let client = client(&flags).unwrap();
        let info = client.get_connection_info();
        assert_eq!(info.addr().to_string(), "cache:6380");
        assert_eq!(info.redis_settings().username(), Some("forebay"));
        assert_eq!((info.redis_settings().password(), info.redis_settings().db()), (Some("p@ss:w/rd"), 2));
    }

    #[test]
    fn a_server_may_have_an_address_of_ipv6() {
        let client = client(&["redis.url=redis://[::1]:6380/1"]).unwrap();
        let ConnectionAddr::Tcp(host, port) = client.get_connection_info().addr() else { panic!("no address") };
        assert_eq!((host.as_str(), *port), ("::1", 6380));
    }

    #[test]
    fn a_server_that_cannot_take_commands_is_recognised() {
        let refused = |reply: &str| {
            let value = redis::parse_redis_value(reply.as_bytes()).unwrap();
            is_refused(&value.extract_error().unwrap_err())
        };
        for code in ["READONLY", "OOM", "MISCONF", "LOADING", "MASTERDOWN", "NOREPLICAS"] {
            assert!(refused(&format!("-{code} the reason\r\n")), "{code}");
        }
        assert!(!refused("-ERR unknown command\r\n") && !refused("-NOPERM no\r\n"));
    }

    #[test]
    fn contradictions_are_named() {
        assert_eq!(key(&["redis.url=redis://u:p@h", "redis.password=q"]), "redis.password");
        assert_eq!(key(&["redis.url=redis://h", "redis.username=u"]), "redis.username");
        assert_eq!(key(&["redis.url=redis://h", "redis.ca_file=/ca.pem"]), "redis.ca_file");
        assert_eq!(key(&["redis.url=rediss://h", "redis.ca_file=/does/not/exist"]), "redis.ca_file");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.pem");
        std::fs::write(&file, "no certificate").unwrap();
        let cert = format!("redis.client_cert_file={}", file.display());
        assert_eq!(key(&["redis.url=rediss://h", &cert]), "redis.client_key_file");
        assert_eq!(key(&["redis.url=nonsense"]), "redis.url");
        let message = client(&["redis.url=redis://u:hunter2@h", "redis.password=hunter3"]).unwrap_err().to_string();
        assert!(!message.contains("hunter"), "{message}");
    }
}
