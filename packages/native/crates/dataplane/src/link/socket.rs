//! The socket below a connection: TCP, or a unix socket when both ends are processes of one user on one host.
//!
//! A plane that listens on `host:port` listens under that name in the abstract socket namespace too. The namespace belongs to
//! the network namespace, so whoever finds the name there would have reached the same process by TCP; the kernel
//! tells each end the other's user. Names in it vanish with their process: nothing is left behind, kill -9 included.

use std::io::{IoSlice, Result};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// Either kind, as one type.
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    pub(super) fn tcp(stream: TcpStream) -> Result<Socket> {
        stream.set_nodelay(true)?;
        Ok(Socket::Tcp(stream))
    }

    /// None when the other end belongs to another user.
    pub(super) fn unix(stream: UnixStream) -> Option<Socket> {
        let same_user = stream.peer_cred().is_ok_and(|peer| own_user().is_some_and(|own| own == peer.uid()));
        same_user.then_some(Socket::Unix(stream))
    }

    /// Whether the other end is a process of this host and user.
    pub(super) fn is_unix(&self) -> bool {
        matches!(self, Socket::Unix(_))
    }

    /// Connects to `host:port`, by unix socket where `same_host` allows and the peer has one.
    pub(super) async fn connect(address: &str, same_host: bool) -> Result<Socket> {
        if same_host
            && let Ok(listens) = address.parse()
            && let Ok(stream) = UnixStream::connect(abstract_name(listens)).await
            && let Some(socket) = Socket::unix(stream)
        {
            return Ok(socket);
        }
        Socket::tcp(TcpStream::connect(address).await?)
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
            Err(std::io::ErrorKind::Unsupported.into())
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

macro_rules! either {
    ($socket:expr, $stream:ident => $call:expr) => {
        match $socket.get_mut() {
            Socket::Tcp($stream) => $call,
            Socket::Unix($stream) => $call,
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        either!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        either!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        either!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
