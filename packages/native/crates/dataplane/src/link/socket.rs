//! The socket below a connection: TCP, with TLS where there are certificates, or a unix socket when both ends are processes
//! of one user on one host. A unix socket is plaintext always: the kernel proves what certificates would.
//!
//! A plane that listens on `host:port` listens under that name in the abstract socket namespace too. The namespace belongs to
//! the network namespace, so whoever finds the name there would have reached the same process by TCP; the kernel
//! tells each end the other's user. Names in it vanish with their process: nothing is left behind, kill -9 included.

use std::io::{ErrorKind, IoSlice, Result};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::time::{Sleep, sleep};
use tokio_rustls::TlsStream;

use crate::arena::Arena;
use crate::link::Sharing;
use crate::link::sharing::{answer, offer};
use crate::options::Transport;
use crate::tls::{Tls, plaintext_refusal, refusal};

/// Any kind, as one type.
pub(super) struct Socket {
    stream: Stream,
    refusal: Refusal,
    /// Nothing was read yet.
    is_silent: bool,
    /// Until when the rest of what HTTP/2 begins with has to come, which hyper waits for without end.
    preface: Option<(usize, Pin<Box<Sleep>>)>,
}

/// What every client of HTTP/2 says first.
const PREFACE_BYTES: usize = 24;

/// What was read that says why the peer does not want this connection, or cannot be trusted with it.
pub(super) type Refusal = Arc<OnceLock<String>>;

enum Stream {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

impl Socket {
    fn new(stream: Stream) -> Socket {
        Socket { stream, refusal: Refusal::default(), is_silent: true, preface: None }
    }

    fn tcp(stream: TcpStream) -> Result<Socket> {
        stream.set_nodelay(true)?;
        Ok(Socket::new(Stream::Tcp(stream)))
    }

    /// None when the other end belongs to another user.
    pub(super) fn unix(stream: UnixStream) -> Option<Socket> {
        let same_user = stream.peer_cred().is_ok_and(|peer| own_user().is_some_and(|own| own == peer.uid()));
        same_user.then_some(Socket::new(Stream::Unix(stream)))
    }

    /// An accepted socket whose reads fail when HTTP/2 does not begin in time.
    pub(super) fn expecting_preface(self, within: Duration) -> Socket {
        Socket { preface: Some((PREFACE_BYTES, Box::pin(sleep(within)))), ..self }
    }

    /// Fails when the preface is late.
    fn poll_preface(&mut self, cx: &mut Context<'_>) -> Result<()> {
        let is_late = self.preface.as_mut().is_some_and(|(_, late)| late.as_mut().poll(cx).is_ready());
        if is_late { Err(ErrorKind::TimedOut.into()) } else { Ok(()) }
    }

    /// Whether the other end is a process of this host and user.
    pub(super) fn is_unix(&self) -> bool {
        matches!(self.stream, Stream::Unix(_))
    }

    /// Set when the peer was heard to refuse: also after the handshake, as it verifies certificates after ours is through.
    pub(super) fn refusal(&self) -> Refusal {
        self.refusal.clone()
    }

    /// Proves to each other who dials `address` and who answers there.
    pub(super) async fn secured(self, tls: &Tls, address: &str) -> Result<Socket> {
        match self.stream {
            Stream::Tcp(stream) => Ok(Socket::new(Stream::Tls(Box::new(tls.connect(stream, address).await?)))),
            _ => Ok(self),
        }
    }

    /// The same for an accepted socket; none when the peer could not.
    pub(super) async fn accepted(self, tls: &Tls) -> Option<Socket> {
        match self.stream {
            Stream::Tcp(stream) => Some(Socket::new(Stream::Tls(Box::new(tls.accept(stream).await?)))),
            _ => Some(self),
        }
    }

    /// Keeps what a read says about a refusal.
    fn note(&mut self, read: &Poll<Result<()>>, bytes: &[u8]) {
        let found = match read {
            Poll::Ready(Ok(())) if self.is_silent => {
                self.is_silent = false;
                plaintext_refusal(bytes).filter(|_| matches!(self.stream, Stream::Tcp(_)))
            }
            Poll::Ready(Err(error)) => refusal(error),
            _ => None,
        };
        if let Some(found) = found {
            // The first one counts.
            let _ = self.refusal.set(found);
        }
    }

    /// Connects to `host:port` by unix socket, where the transport allows and the peer has one, and passes memory where both have some
    /// to share.
    pub(super) async fn by_unix(
        address: &str,
        transport: Transport,
        arena: Option<&Arc<Arena>>,
    ) -> Option<(Socket, Option<Arc<Sharing>>)> {
        if transport == Transport::Tcp {
            return None;
        }
        let listens = address.parse().ok()?;
        if let Some(arena) = arena
            && let Some(socket) = Socket::connect_unix(listens).await
            && let Stream::Unix(stream) = &socket.stream
            && let Ok(sharing) = offer(stream, arena).await
        {
            return Some((socket, sharing));
        }
        Some((Socket::connect_unix(listens).await?, None))
    }

    pub(super) async fn by_tcp(address: &str) -> Result<Socket> {
        Socket::tcp(TcpStream::connect(address).await?)
    }

    async fn connect_unix(listens: SocketAddr) -> Option<Socket> {
        UnixStream::connect(abstract_name(listens)).await.ok().and_then(Socket::unix)
    }

    /// What a dialling peer shares, if it begins with that.
    pub(super) async fn accept_sharing(&self, arena: Option<&Arc<Arena>>) -> Result<Option<Arc<Sharing>>> {
        match &self.stream {
            Stream::Unix(stream) => answer(stream, arena).await,
            Stream::Tcp(_) | Stream::Tls(_) => Ok(None),
        }
    }
}

/// Where a plane accepts connections.
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Listens under the name of a TCP address; fails on systems that have no abstract names.
    pub(crate) fn unix(address: SocketAddr) -> Result<Listener> {
        if cfg!(target_os = "linux") {
            UnixListener::bind(abstract_name(address)).map(Listener::Unix)
        } else {
            Err(ErrorKind::Unsupported.into())
        }
    }

    /// The next connection; none when it came from another user.
    pub(super) async fn accept(&self) -> Result<Option<Socket>> {
        match self {
            Listener::Tcp(listener) => Socket::tcp(listener.accept().await?.0).map(Some),
            Listener::Unix(listener) => Ok(Socket::unix(listener.accept().await?.0)),
        }
    }
}

/// The leading zero makes it abstract. Where there are no such names it is a path that cannot exist.
fn abstract_name(address: SocketAddr) -> String {
    format!("\0ulysses-tensor/{address}")
}

/// The effective user of this process.
fn own_user() -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").ok().map(|process| process.uid())
}

macro_rules! each {
    ($socket:expr, $stream:ident => $call:expr) => {
        match &mut $socket.stream {
            Stream::Tcp($stream) => $call,
            Stream::Tls($stream) => $call,
            Stream::Unix($stream) => $call,
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        self.poll_preface(cx)?;
        let before = buf.filled().len();
        let read = each!(self, stream => Pin::new(stream).poll_read(cx, buf));
        let bytes = &buf.filled()[before..];
        self.note(&read, bytes);
        if let Some((left, _)) = &mut self.preface {
            *left = left.saturating_sub(bytes.len());
            self.preface.take_if(|(left, _)| *left == 0);
        }
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        each!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
