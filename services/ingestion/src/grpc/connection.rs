//! Connections of the gRPC server, with or without TLS.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Sleep;
use tokio_rustls::TlsAcceptor;
use tonic::transport::server::Connected;

use crate::net_stream::NetStream;

/// Pause after an error of the listener, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// Length of what every client of HTTP/2 sends first: the preface, and the head of the settings behind it.
const PREFACE: usize = 24 + 9;

/// One connection. It counts against the limit until it is dropped.
pub(super) struct Connection {
    stream: NetStream,
    /// What is missing of the preface, and when it has to be there; `None` once it is.
    preface: Option<(usize, Pin<Box<Sleep>>)>,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    fn new(stream: NetStream, preface_timeout: Duration, permit: OwnedSemaphorePermit) -> Self {
        let preface = Some((PREFACE, Box::pin(tokio::time::sleep(preface_timeout))));
        Self { stream, preface, _permit: permit }
    }
}

/// Accepts connections until the receiver is gone. Handshakes of TLS do not hold up other connections; they end after
/// `handshake_timeout`, and so do connections without the preface of HTTP/2.
pub(super) async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    limit: usize,
    handshake_timeout: Duration,
    connections: mpsc::Sender<Connection>,
) {
    let limit = Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS)));
    while let Ok(permit) = Arc::clone(&limit).acquire_owned().await {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = connections.closed() => return,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        // a frame is written whole, so it must not wait for the acknowledgement of the one before
        drop(stream.set_nodelay(true));
        let Some(tls) = tls.clone() else {
            let connection = Connection::new(NetStream::Plain(stream), handshake_timeout, permit);
            if connections.send(connection).await.is_err() {
                return;
            }
            continue;
        };
        let connections = connections.clone();
        tokio::spawn(async move {
            if let Ok(Ok(stream)) = tokio::time::timeout(handshake_timeout, tls.accept(stream)).await {
                let connection = Connection::new(NetStream::Secure(Box::new(stream)), handshake_timeout, permit);
                drop(connections.send(connection).await);
            }
        });
    }
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer);
        if let Some((missing, deadline)) = &mut this.preface {
            *missing = missing.saturating_sub(buffer.filled().len() - before);
            if *missing == 0 {
                this.preface = None;
            } else if read.is_pending() && deadline.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
