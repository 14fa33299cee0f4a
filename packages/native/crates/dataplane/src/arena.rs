//! Memory that peers of this host read in place: a sealed memfd, which has no name in any file system and ends with the last
//! process that maps it, kill -9 included.
//!
//! Invariants:
//! A1. Neither size nor seals change, and nobody but its maker can map it for writing: a reader needs no guard against SIGBUS.
//! A2. Extents that are handed out do not overlap, and lie in pages that were touched: no write faults during a step.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Result};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Mutex;

use crate::lock;
use crate::mapping::{Access, HUGE_PAGE_BYTES, Mapping};
use crate::memory::REGION_ALIGN;
use crate::sealed_file;

/// Pages are touched so many bytes ahead of use: a process that needs little keeps little.
const TOUCH_BYTES: usize = 32 << 20;

pub(crate) struct Arena {
    file: OwnedFd,
    mapping: Mapping,
    extents: Mutex<Extents>,
}

struct Extents {
    /// Length by offset; neighbours are merged.
    free: BTreeMap<usize, usize>,
    free_bytes: usize,
    /// Pages below this are touched.
    touched: usize,
}

impl Arena {
    /// Room for `bytes`, rounded up to huge pages. Fails where the system has no sealed memory.
    pub(crate) fn new(bytes: usize) -> Result<Arena> {
        let size = bytes.checked_next_multiple_of(HUGE_PAGE_BYTES).ok_or(ErrorKind::InvalidInput)?;
        let file = sealed_file::create(size)?;
        let mapping = Mapping::new(file.as_fd(), size, Access::Write)?;
        sealed_file::seal(file.as_fd())?;
        let extents = Mutex::new(Extents { free: BTreeMap::from([(0, size)]), free_bytes: size, touched: 0 });
        Ok(Arena { file, mapping, extents })
    }

    pub(crate) fn size(&self) -> usize {
        self.mapping.size()
    }

    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// `size` bytes, a multiple of `REGION_ALIGN`, holding whatever they held; none when less than `spare` would be left. The
    /// lowest place that fits: what was freed last is often still in the cache, and untouched pages stay untouched.
    pub(crate) fn allocate(&self, size: usize, spare: usize) -> Option<NonNull<u8>> {
        debug_assert!(size > 0 && size.is_multiple_of(REGION_ALIGN));
        let mut extents = lock(&self.extents);
        if size.saturating_add(spare) > extents.free_bytes {
            return None;
        }
        let (offset, length) =
            extents.free.iter().find(|&(_, &length)| length >= size).map(|(&at, &length)| (at, length))?;
        if !self.touch(&mut extents, offset + size) {
            return None;
        }
        extents.free_bytes -= size;
        extents.free.remove(&offset);
        if length > size {
            extents.free.insert(offset + size, length - size);
        }
        // SAFETY: inside the mapping.
        Some(unsafe { self.mapping.start().add(offset) })
    }

    /// Takes back what `allocate` handed out.
    pub(crate) fn free(&self, start: NonNull<u8>, size: usize) {
        let mut begin = start.as_ptr() as usize - self.mapping.start().as_ptr() as usize;
        let mut end = begin + size;
        let mut extents = lock(&self.extents);
        extents.free_bytes += size;
        if let Some((&before, &length)) = extents.free.range(..begin).next_back()
            && before + length == begin
        {
            extents.free.remove(&before);
            begin = before;
        }
        if let Some(length) = extents.free.remove(&end) {
            end += length;
        }
        extents.free.insert(begin, end - begin);
    }

    /// Where bytes of this arena lie in it; none for other memory.
    pub(crate) fn offset_of(&self, start: *const u8, bytes: usize) -> Option<usize> {
        let offset = (start as usize).checked_sub(self.mapping.start().as_ptr() as usize)?;
        (offset.checked_add(bytes)? <= self.size()).then_some(offset)
    }

    /// Touches the pages below `end`, and those of the stretch that it lies in. False when the system has no memory left.
    fn touch(&self, extents: &mut Extents, end: usize) -> bool {
        if end <= extents.touched {
            return true;
        }
        let target = end.next_multiple_of(TOUCH_BYTES).min(self.size());
        let touched = self.mapping.touch(extents.touched, target - extents.touched);
        if touched {
            extents.touched = target;
        }
        touched
    }
}

#[cfg(test)]
#[path = "arena_test.rs"]
mod tests;
