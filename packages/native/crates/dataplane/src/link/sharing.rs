//! How two processes of one host and user pass each other their memory, before the first byte of HTTP/2.
//!
//! Whoever dials a unix socket, whose ends the kernel has told each other's user, begins with a greeting that carries the
//! descriptor of its arena; the answer carries that of the other's, or none. So both have it or none has, it belongs to this
//! connection, and a peer on another host or of another user never comes so far. A client that knows nothing of this begins
//! with HTTP/2 as ever: no byte of the greeting is one that such a connection begins with.

use std::io::{Error, ErrorKind, Result};
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::arena::Arena;
use crate::peer_memory::PeerMemory;

/// What a greeting and its answer begin with; the size of the arena follows, 0 for none.
const MAGIC: [u8; 8] = *b"\0ulysses";
const GREETING_BYTES: usize = MAGIC.len() + size_of::<u64>();
/// Room for one descriptor and its header, aligned.
type Control = [u64; 8];

/// Memory of both ends of one connection.
pub(crate) struct Sharing {
    pub(crate) own: Arc<Arena>,
    pub(crate) peer: PeerMemory,
}

/// The dialling end. Fails when the peer does not know the greeting: the connection is of no use then.
pub(super) async fn offer(stream: &UnixStream, own: &Arc<Arena>) -> Result<Option<Arc<Sharing>>> {
    send(stream, Some(own)).await?;
    let (bytes, file) = receive(stream).await?;
    let Some(file) = file else { return Ok(None) };
    Ok(Some(Arc::new(Sharing { own: own.clone(), peer: PeerMemory::map(&file, bytes)? })))
}

/// The accepting end: looks whether the connection begins with a greeting, and answers it.
pub(super) async fn answer(stream: &UnixStream, own: Option<&Arc<Arena>>) -> Result<Option<Arc<Sharing>>> {
    if !begins_with_greeting(stream).await? {
        return Ok(None);
    }
    let (bytes, file) = receive(stream).await?;
    let peer = file.and_then(|file| PeerMemory::map(&file, bytes).ok());
    let sharing = own.zip(peer).map(|(own, peer)| Arc::new(Sharing { own: own.clone(), peer }));
    send(stream, sharing.as_ref().map(|sharing| &sharing.own)).await?;
    Ok(sharing)
}

async fn begins_with_greeting(stream: &UnixStream) -> Result<bool> {
    let peek = || {
        let mut first = 0u8;
        // SAFETY: writes at most one byte, into `first`.
        let read = unsafe { libc::recv(stream.as_raw_fd(), (&raw mut first).cast(), 1, libc::MSG_PEEK) };
        if read < 0 { Err(Error::last_os_error()) } else { Ok(read == 1 && first == MAGIC[0]) }
    };
    stream.async_io(Interest::READABLE, peek).await
}

async fn send(stream: &UnixStream, arena: Option<&Arc<Arena>>) -> Result<()> {
    let mut greeting = [0; GREETING_BYTES];
    greeting[..MAGIC.len()].copy_from_slice(&MAGIC);
    let bytes = arena.map_or(0, |arena| arena.size() as u64);
    greeting[MAGIC.len()..].copy_from_slice(&bytes.to_le_bytes());
    let file = arena.map(|arena| arena.file());
    // So few bytes, the first on this socket, are sent at once.
    let sent = stream.async_io(Interest::WRITABLE, || send_message(stream.as_raw_fd(), &greeting, file)).await?;
    if sent == greeting.len() { Ok(()) } else { Err(ErrorKind::WriteZero.into()) }
}

async fn receive(stream: &UnixStream) -> Result<(u64, Option<OwnedFd>)> {
    let mut greeting = [0; GREETING_BYTES];
    let receive = || receive_message(stream.as_raw_fd(), &mut greeting);
    let (received, file) = stream.async_io(Interest::READABLE, receive).await?;
    let (magic, bytes) = greeting.split_at(MAGIC.len());
    if received != GREETING_BYTES || magic != MAGIC {
        return Err(Error::new(ErrorKind::InvalidData, "the peer knows no shared memory"));
    }
    Ok((u64::from_le_bytes(bytes.try_into().expect("eight bytes")), file))
}

fn send_message(socket: RawFd, bytes: &[u8], file: Option<BorrowedFd<'_>>) -> Result<usize> {
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut control: Control = [0; 8];
    // SAFETY: a message of one part, which is only read, and a control buffer that has room for one descriptor.
    let sent = unsafe {
        let mut message: libc::msghdr = zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        if let Some(file) = file {
            message.msg_control = (&raw mut control).cast();
            message.msg_controllen = libc::CMSG_SPACE(size_of::<RawFd>() as u32) as _;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(size_of::<RawFd>() as u32) as _;
            libc::CMSG_DATA(header).cast::<RawFd>().write_unaligned(file.as_raw_fd());
        }
        libc::sendmsg(socket, &raw const message, NO_SIGNAL)
    };
    usize::try_from(sent).map_err(|_| Error::last_os_error())
}

fn receive_message(socket: RawFd, bytes: &mut [u8]) -> Result<(usize, Option<OwnedFd>)> {
    let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let mut control: Control = [0; 8];
    // SAFETY: a message of one part, and a control buffer with room for one descriptor: the kernel closes what does not fit. A
    // descriptor that came is nobody else's.
    unsafe {
        let mut message: libc::msghdr = zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = (&raw mut control).cast();
        message.msg_controllen = libc::CMSG_SPACE(size_of::<RawFd>() as u32) as _;
        let received = libc::recvmsg(socket, &raw mut message, CLOSE_ON_EXEC);
        let received = usize::try_from(received).map_err(|_| Error::last_os_error())?;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        let carries = !header.is_null()
            && (*header).cmsg_level == libc::SOL_SOCKET
            && (*header).cmsg_type == libc::SCM_RIGHTS
            && (*header).cmsg_len as usize >= libc::CMSG_LEN(size_of::<RawFd>() as u32) as usize;
        let file = carries.then(|| OwnedFd::from_raw_fd(libc::CMSG_DATA(header).cast::<RawFd>().read_unaligned()));
        Ok((received, file))
    }
}

#[cfg(target_os = "linux")]
const CLOSE_ON_EXEC: i32 = libc::MSG_CMSG_CLOEXEC;
#[cfg(target_os = "linux")]
const NO_SIGNAL: i32 = libc::MSG_NOSIGNAL;
// Where there are no arenas nothing is sent or received.
#[cfg(not(target_os = "linux"))]
const CLOSE_ON_EXEC: i32 = 0;
#[cfg(not(target_os = "linux"))]
const NO_SIGNAL: i32 = 0;
