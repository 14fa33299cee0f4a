//! Files without a name, in memory, that cannot shrink or grow and that only their maker can map for writing. Linux only.

use std::io::Result;
use std::os::fd::{BorrowedFd, OwnedFd};

#[cfg(target_os = "linux")]
pub(crate) use linux::{create, is_sealed, seal};

#[cfg(target_os = "linux")]
mod linux {
    use std::io::{Error, ErrorKind};
    use std::os::fd::{AsRawFd, FromRawFd};

    use super::{BorrowedFd, OwnedFd, Result};

    const SEALS: i32 = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_FUTURE_WRITE | libc::F_SEAL_SEAL;

    /// A file of zeros that is not sealed yet.
    pub(crate) fn create(bytes: usize) -> Result<OwnedFd> {
        let length = libc::off_t::try_from(bytes).map_err(|_| ErrorKind::InvalidInput)?;
        // SAFETY: the name is a C string, and the descriptor that comes back is nobody else's.
        let file = unsafe {
            let file = libc::memfd_create(c"ulysses-arena".as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING);
            OwnedFd::from_raw_fd(checked(file)?)
        };
        // SAFETY: calls on a descriptor that is ours.
        unsafe {
            checked(libc::fchmod(file.as_raw_fd(), 0o600))?;
            checked(libc::ftruncate(file.as_raw_fd(), length))?;
        }
        Ok(file)
    }

    /// From now on neither size nor seals change, and it cannot be mapped for writing; mappings that exist stay as they are.
    pub(crate) fn seal(file: BorrowedFd<'_>) -> Result<()> {
        // SAFETY: a call on an open descriptor.
        checked(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, SEALS) }).map(drop)
    }

    pub(crate) fn is_sealed(file: BorrowedFd<'_>) -> bool {
        // SAFETY: a call on an open descriptor. It fails, with a negative number, for other kinds of files.
        let seals = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) };
        seals >= 0 && seals & SEALS == SEALS
    }

    fn checked(outcome: i32) -> Result<i32> {
        if outcome < 0 { Err(Error::last_os_error()) } else { Ok(outcome) }
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn create(_bytes: usize) -> Result<OwnedFd> {
    Err(std::io::ErrorKind::Unsupported.into())
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn seal(_file: BorrowedFd<'_>) -> Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn is_sealed(_file: BorrowedFd<'_>) -> bool {
    false
}
