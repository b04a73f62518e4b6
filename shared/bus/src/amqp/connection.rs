//! The address of RabbitMQ, connections to it, and the reasons why they fail.

use std::net::SocketAddr;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use forebay_runtime::{Heartbeat, StartError};
use lapin::runtime::default_runtime;
use lapin::tcp::{RustlsConnector, RustlsConnectorConfig};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{AsyncTcpStream, Connection, ConnectionProperties, ErrorKind};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::RabbitMqSettings;

/// Longest time for name lookup, TLS and the AMQP handshake together.
const CONNECT: Duration = Duration::from_secs(10);

/// A server, as settings describe it.
#[derive(Clone)]
pub(super) struct Address {
    uri: AMQPUri,
    settings: RabbitMqSettings,
    name: String,
}

impl Address {
    /// Reads `rabbitmq.url`; `name` is what the server's operators see.
    pub(super) fn read(settings: &RabbitMqSettings, name: &str) -> Result<Self, StartError> {
        let wrong = |text: String| StartError::setting("rabbitmq.url", text);
        // the error may quote what it could not read, and that may be the password
        let mut uri: AMQPUri = settings
            .url
            .expose()
            .parse()
            .map_err(|_| wrong("is no address, expected amqp://user:password@host:5672/vhost".to_owned()))?;
        if uri.query.heartbeat.is_none() {
            uri.query.heartbeat = Some(u16::try_from(settings.heartbeat.as_secs()).unwrap_or(u16::MAX));
        }
        Ok(Self { uri, settings: settings.clone(), name: name.to_owned() })
    }

    /// `host:port`, for messages.
    pub(super) fn shown(&self) -> String {
        format!("{}:{}", self.uri.authority.host, self.uri.authority.port)
    }

    /// Connects once, within ten seconds; the error says what failed and where.
    pub(super) async fn connect(&self) -> Result<Connection, String> {
        let tried = tokio::time::timeout(CONNECT, self.try_once()).await;
        let text = match tried {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(text)) => text,
            Err(_) => format!("no answer within {CONNECT:?}"),
        };
        Err(format!("RabbitMQ at {}: {text}", self.shown()))
    }

    async fn try_once(&self) -> Result<Connection, String> {
        let tls = match self.uri.scheme {
            AMQPScheme::AMQP => None,
            AMQPScheme::AMQPS => Some(connector(&self.settings)?),
        };
        let port = self.uri.authority.port;
        // an address of IPv6 stands in brackets
        let host = self.uri.authority.host.trim_matches(['[', ']']).to_owned();
        let found = tokio::net::lookup_host((host.clone(), port)).await.map_err(|error| error.to_string())?;
        let addresses: Vec<SocketAddr> = found.collect();
        let options = ConnectionProperties::default().with_connection_name(self.name.as_str().into());
        let runtime = default_runtime().map_err(|error| error.to_string())?;
        let open = Connection::connector(
            self.uri.clone(),
            runtime,
            async move |_, runtime| {
                let stream = AsyncTcpStream::connect(&runtime, addresses.clone()).await?;
                Ok(match &tls {
                    Some(tls) => stream.into_rustls(tls, &host).await?,
                    None => stream,
                })
            },
            options,
        );
        open.await.map_err(|error| self.explain(&error))
    }

    /// The library's error, with the setting that is likely to be wrong.
    fn explain(&self, error: &lapin::Error) -> String {
        let text = error.to_string();
        match error.kind() {
            ErrorKind::ProtocolError(_) if text.contains("ACCESS_REFUSED") => {
                let user = &self.uri.authority.userinfo.username;
                format!("user {user:?} is refused; look at user and password in rabbitmq.url")
            }
            ErrorKind::ProtocolError(_) if text.contains("NOT_ALLOWED") || text.contains("vhost") => {
                format!("virtual host {:?} of rabbitmq.url: {text}", self.uri.vhost)
            }
            ErrorKind::IOError(io) if io.to_string().contains("peer certificate") => {
                format!("TLS: {io}; rabbitmq.ca_file names the authorities that are trusted")
            }
            ErrorKind::IOError(io) if io.to_string().contains("alert") => {
                format!("TLS: {io}; the server may want another rabbitmq.client_cert_file")
            }
            _ => text,
        }
    }
}

/// TLS as settings say: only the authorities of `ca_file` where there is one, else those of the system. Files are read
/// at every connection, so that a renewed certificate needs no restart.
fn connector(settings: &RabbitMqSettings) -> Result<RustlsConnector, String> {
    let config = if settings.ca_file.is_empty() {
        RustlsConnectorConfig::new_with_native_certs().map_err(|error| format!("the system's authorities: {error}"))?
    } else {
        let mut config = RustlsConnectorConfig::default();
        config.add_parsable_certificates(certificates("rabbitmq.ca_file", &settings.ca_file)?);
        config
    };
    let made = if settings.client_cert_file.is_empty() {
        config.connector_with_no_client_auth()
    } else {
        let chain = certificates("rabbitmq.client_cert_file", &settings.client_cert_file)?;
        let key = PrivateKeyDer::from_pem_file(&settings.client_key_file)
            .map_err(|error| format!("rabbitmq.client_key_file {}: {error}", settings.client_key_file))?;
        config.connector_with_single_cert(chain, key)
    };
    made.map_err(|error| format!("TLS: {error}"))
}

fn certificates(setting: &str, file: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("{setting} {file}: {error}");
    let found = CertificateDer::pem_file_iter(Path::new(file)).map_err(|error| wrong(&error))?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(|error| wrong(&error))?;
    if found.is_empty() { Err(wrong(&"holds no certificate")) } else { Ok(found) }
}

/// Logs why there is no connection, once for each reason.
pub(super) fn log_once(logged: &mut String, why: &str) {
    if logged != why {
        tracing::warn!(why, "rabbitmq is not in reach, trying again");
        why.clone_into(logged);
    }
}

/// A thread with its own runtime: the library's tasks neither wait for actors nor delay them.
#[derive(Debug)]
pub(super) struct Thread(JoinHandle<()>);

impl Thread {
    /// `heartbeat` beats while the thread turns its tasks, whatever these wait for.
    pub(super) fn start(
        name: &str,
        heartbeat: Heartbeat,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Self, StartError> {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).thread_name(name).enable_all().build().map_err(StartError::failed)?;
        let run = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = work => {}
                    () = heartbeat.beat_from_task() => {}
                }
            });
            runtime.shutdown_timeout(Duration::from_millis(200));
        };
        std::thread::Builder::new().name(name.into()).spawn(run).map(Self).map_err(StartError::failed)
    }

    /// Whether it ended within `limit`.
    pub(super) async fn ended_within(&self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while !self.0.is_finished() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.0.is_finished()
    }
}
