//! What a process does that shares its memory, written anew from docs/protocol.md.
#![cfg(target_os = "linux")]

use std::fs::File;
use std::io::{Read, Write};
use std::mem::zeroed;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};

use super::DEADLINE;

pub const SEALS: i32 = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_FUTURE_WRITE | libc::F_SEAL_SEAL;

pub fn abstract_name(address: &str) -> SocketAddr {
    SocketAddr::from_abstract_name(format!("ulysses-tensor/{address}")).unwrap()
}

pub fn dial(address: &str) -> UnixStream {
    let socket = UnixStream::connect_addr(&abstract_name(address)).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket
}

/// A memfd of these bytes.
pub fn memory(bytes: &[u8], seals: i32) -> File {
    // SAFETY: the name is a C string, and the descriptor that comes back is nobody else's.
    let mut file = unsafe {
        let file = libc::memfd_create(c"test".as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING);
        assert!(file >= 0);
        File::from_raw_fd(file)
    };
    file.write_all(bytes).unwrap();
    // SAFETY: a call on an open descriptor.
    assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) }, 0);
    file
}

/// Sends a greeting; true when memory comes back.
pub fn greet(socket: &mut UnixStream, bytes: u64, file: &File) -> bool {
    let mut greeting = *b"\0ulysses........";
    greeting[8..].copy_from_slice(&bytes.to_le_bytes());
    send_with_file(socket, &greeting, file);
    let mut answer = [0; 16];
    // A descriptor that comes along is closed by the kernel, since no room is offered for it.
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(answer[..8], greeting[..8]);
    answer[8..] != [0; 8]
}

fn send_with_file(socket: &UnixStream, bytes: &[u8], file: &File) {
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut control = [0u64; 4];
    // SAFETY: a message of one part, which is only read, and a control buffer that has room for one descriptor.
    unsafe {
        let mut message: libc::msghdr = zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = (&raw mut control).cast();
        message.msg_controllen = libc::CMSG_SPACE(4) as usize;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(4) as usize;
        libc::CMSG_DATA(header).cast::<i32>().write_unaligned(file.as_raw_fd());
        assert_eq!(libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL), bytes.len() as isize);
    }
}
