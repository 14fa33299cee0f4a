//! Shared mappings of files, aligned for huge pages.

use std::io::{Error, ErrorKind, Result};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;

pub(crate) const HUGE_PAGE_BYTES: usize = 2 << 20;

#[derive(Clone, Copy)]
pub(crate) enum Access {
    Read,
    Write,
}

pub(crate) struct Mapping {
    start: NonNull<u8>,
    size: usize,
}

// SAFETY: a mapping is an address and a size; what may be done with the bytes is its owner's to say.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `size` bytes of a file that has as many and cannot shrink.
    pub(crate) fn new(file: BorrowedFd<'_>, size: usize, access: Access) -> Result<Mapping> {
        let protection = match access {
            Access::Read => libc::PROT_READ,
            Access::Write => libc::PROT_READ | libc::PROT_WRITE,
        };
        let reserved = size.checked_add(HUGE_PAGE_BYTES).ok_or(ErrorKind::InvalidInput)?;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping touches nothing that exists; the second replaces a part of the first, whose rest goes again.
        unsafe {
            let around = libc::mmap(std::ptr::null_mut(), reserved, libc::PROT_NONE, kind, -1, 0);
            if around == libc::MAP_FAILED {
                return Err(Error::last_os_error());
            }
            let before = around.cast::<u8>().align_offset(HUGE_PAGE_BYTES);
            let start = around.byte_add(before);
            let mapped = libc::mmap(start, size, protection, libc::MAP_SHARED | libc::MAP_FIXED, file.as_raw_fd(), 0);
            if mapped == libc::MAP_FAILED {
                let error = Error::last_os_error();
                libc::munmap(around, reserved);
                return Err(error);
            }
            if before > 0 {
                libc::munmap(around, before);
            }
            libc::munmap(start.byte_add(size), HUGE_PAGE_BYTES - before);
            // The advice may be refused: then pages stay small.
            #[cfg(target_os = "linux")]
            libc::madvise(start, size, libc::MADV_HUGEPAGE);
            Ok(Mapping { start: NonNull::new(start.cast()).expect("mmap returns no null"), size })
        }
    }

    /// Address of the first byte, valid for `size()` bytes while this lives.
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Makes pages present that are to be written. False when the system has no memory left. Systems that do not know how
    /// make them present one by one, later.
    pub(crate) fn touch(&self, offset: usize, bytes: usize) -> bool {
        assert!(offset.checked_add(bytes).is_some_and(|end| end <= self.size), "{offset}+{bytes} outside a mapping");
        #[cfg(target_os = "linux")]
        // SAFETY: a range of the mapping (checked); its bytes stay what they are.
        unsafe {
            let start = self.start.add(offset).as_ptr();
            libc::madvise(start.cast(), bytes, libc::MADV_POPULATE_WRITE) == 0
                || Error::last_os_error().raw_os_error() == Some(libc::EINVAL)
        }
        #[cfg(not(target_os = "linux"))]
        true
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this size, and nobody holds an address into it any more.
        unsafe {
            libc::munmap(self.start.as_ptr().cast(), self.size);
        }
    }
}
