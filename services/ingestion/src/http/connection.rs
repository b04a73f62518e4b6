//! Connections: with or without TLS, and which version of HTTP a client speaks.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_server::GracefulShutdownSignal;
use actix_service::Service;
use forebay_runtime::StartError;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::http2::{Application, Http2};
use super::state::HttpState;
use crate::net_stream::NetStream;

/// With what a client of HTTP/2 begins, and no request of HTTP/1.
const PREFACE: &[u8] = b"PRI ";
/// Pauses before it is looked again at a connection whose first bytes may become the preface: the first, and the longest,
/// so that many such connections cost little.
const PAUSES: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(500));
/// The protocols of a TLS handshake (ALPN).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Accepts connections. Clones share the certificates.
#[derive(Clone)]
pub(super) struct Acceptor {
    tls: Option<TlsAcceptor>,
    head_timeout: Duration,
    handshake_timeout: Duration,
}

/// What a client speaks.
#[derive(Debug)]
enum Accepted {
    Http1(NetStream),
    Http2(NetStream),
}

impl Acceptor {
    /// Accepts with the certificates that are in use at the time of each connection.
    ///
    /// # Errors
    /// If the certificates cannot be used.
    pub(super) fn new(state: &HttpState) -> Result<Self, StartError> {
        let config = state.certificates.as_ref().map(|certificates| certificates.config()).transpose();
        let mut config = config.map_err(|error| StartError::setting("http.tls.cert_file", error.to_string()))?;
        if let Some(config) = &mut config {
            config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
        }
        Ok(Self {
            tls: config.map(|config| TlsAcceptor::from(Arc::new(config))),
            head_timeout: state.http.head_timeout,
            handshake_timeout: state.http.handshake_timeout(),
        })
    }

    /// The connection after its handshake; `None` for a client that does not say in time what it speaks.
    async fn accept(&self, stream: TcpStream) -> Option<Accepted> {
        // an answer is written whole, so it must not wait for the acknowledgement of the one before
        drop(stream.set_nodelay(true));
        let Some(tls) = &self.tls else {
            let http2 = tokio::time::timeout(self.head_timeout, begins_with_preface(&stream)).await.ok()??;
            let stream = NetStream::Plain(stream);
            return Some(if http2 { Accepted::Http2(stream) } else { Accepted::Http1(stream) });
        };
        let stream = tokio::time::timeout(self.handshake_timeout, tls.accept(stream)).await.ok()?.ok()?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(PROTOCOLS[0]);
        let stream = NetStream::Secure(Box::new(stream));
        Some(if http2 { Accepted::Http2(stream) } else { Accepted::Http1(stream) })
    }
}

/// Serves the connections of a worker. Clones share everything.
pub(super) struct Connections<S> {
    /// HTTP/1.
    pub one: Rc<S>,
    /// What answers requests over HTTP/2.
    pub two: Application,
    pub acceptor: Acceptor,
    pub http2: Http2,
    /// When the server stops.
    pub shutdown: GracefulShutdownSignal,
}

impl<S> Clone for Connections<S> {
    fn clone(&self) -> Self {
        Self {
            one: Rc::clone(&self.one),
            two: Rc::clone(&self.two),
            acceptor: self.acceptor.clone(),
            http2: self.http2.clone(),
            shutdown: self.shutdown.clone(),
        }
    }
}

impl<S: Service<(NetStream, Option<SocketAddr>)>> Connections<S> {
    /// Serves one connection until it ends. How it ends concerns its client alone, so that there are no errors.
    pub(super) async fn serve(self, stream: TcpStream) -> Result<(), ()> {
        let peer = stream.peer_addr().ok();
        let accepted = tokio::select! {
            accepted = self.acceptor.accept(stream) => accepted,
            () = self.shutdown.notified() => None,
        };
        match accepted {
            Some(Accepted::Http1(stream)) => drop(self.one.call((stream, peer)).await),
            Some(Accepted::Http2(stream)) => {
                self.http2.serve(stream, peer, self.two, self.shutdown.notified()).await;
            }
            None => {}
        }
        Ok(())
    }
}

/// Whether a client begins with the preface of HTTP/2 (prior knowledge); `None` if it hangs up. The bytes stay where they
/// are.
async fn begins_with_preface(stream: &TcpStream) -> Option<bool> {
    let mut bytes = [0; PREFACE.len()];
    let mut pause = PAUSES.0;
    loop {
        match stream.peek(&mut bytes).await.ok()? {
            0 => return None,
            read if !PREFACE.starts_with(&bytes[..read]) => return Some(false),
            read if read == PREFACE.len() => return Some(true),
            _ => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSES.1);
            }
        }
    }
}
