//! Connections of the gRPC server, with or without TLS.

use std::future::Future;
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

use crate::in_work::InWork;
use crate::net_stream::NetStream;
use crate::settings::{GrpcSettings, HttpSettings};

/// Pause after an error of the listener, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// Length of what every client of HTTP/2 sends first: the preface, and the head of the settings behind it.
const PREFACE: usize = 24 + 9;

/// How long a connection may take for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectionLimits {
    /// For the handshake of TLS.
    handshake: Duration,
    /// For the preface.
    preface: Duration,
    /// How long there may be no call: before the first one whose caller may make it, and after that.
    idle: (Duration, Duration),
    /// How long the client may take none of any answer that waits for it, and of those of streams if there are no others.
    stall: (Duration, Duration),
}

impl ConnectionLimits {
    pub(super) fn new(http: &HttpSettings, grpc: &GrpcSettings) -> Self {
        let stall = (http.body_timeout, http.body_timeout.max(grpc.stream_idle));
        let idle = (http.head_timeout.min(grpc.connection_idle), grpc.connection_idle);
        Self { handshake: http.handshake_timeout(), preface: http.head_timeout, idle, stall }
    }
}

/// One connection. It counts against the limit until it is dropped.
pub(super) struct Connection {
    stream: NetStream,
    /// What is missing of the preface, and when it has to be there; `None` once it is.
    preface: Option<(usize, Pin<Box<Sleep>>)>,
    in_work: InWork,
    /// Ends when the connection has to.
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    fn new(stream: NetStream, limits: ConnectionLimits, permit: OwnedSemaphorePermit) -> Self {
        let preface = Some((PREFACE, Box::pin(tokio::time::sleep(limits.preface))));
        let in_work = InWork::default();
        let counted = in_work.clone();
        let end = Box::pin(async move {
            tokio::select! {
                () = counted.idle_for(limits.idle) => {}
                () = counted.stalled_for(limits.stall) => {}
            }
        });
        Self { stream, preface, in_work, end, _permit: permit }
    }
}

/// Accepts connections of at most `limits` until the receiver is gone. Handshakes of TLS do not hold up other connections.
pub(super) async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    most: usize,
    limits: ConnectionLimits,
    connections: mpsc::Sender<Connection>,
) {
    let places = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
    while let Ok(permit) = Arc::clone(&places).acquire_owned().await {
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
            let connection = Connection::new(NetStream::Plain(stream), limits, permit);
            if connections.send(connection).await.is_err() {
                return;
            }
            continue;
        };
        let connections = connections.clone();
        tokio::spawn(async move {
            if let Ok(Ok(stream)) = tokio::time::timeout(limits.handshake, tls.accept(stream)).await {
                let connection = Connection::new(NetStream::Secure(Box::new(stream)), limits, permit);
                drop(connections.send(connection).await);
            }
        });
    }
}

/// The calls of the connection are counted where they are made.
impl Connected for Connection {
    type ConnectInfo = InWork;

    fn connect_info(&self) -> InWork {
        self.in_work.clone()
    }
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
        if read.is_pending() && this.end.as_mut().poll(cx).is_ready() {
            // as if the client had ended it
            return Poll::Ready(Ok(()));
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
