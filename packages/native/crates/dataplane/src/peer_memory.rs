//! What a peer of this host shares, mapped read-only, and payloads that lie in it.

use std::io::{Error as IoError, ErrorKind, Result as IoResult};
use std::marker::PhantomData;
use std::os::fd::{AsFd, OwnedFd};

use crate::copying;
use crate::error::{Code, Error, Result};
use crate::mapping::{Access, Mapping};
use crate::memory::Region;
use crate::sealed_file;

/// The arena of a peer. It stays readable when the peer has died, and cannot shrink (A1 of the arena, proved by its seals).
pub(crate) struct PeerMemory(Mapping);

impl PeerMemory {
    /// Maps a passed file. Refuses one that could be cut or is not as large as the peer says.
    pub(crate) fn map(file: &OwnedFd, bytes: u64) -> IoResult<PeerMemory> {
        let length = std::fs::File::from(file.try_clone()?).metadata()?.len();
        if !sealed_file::is_sealed(file.as_fd()) || length != bytes || bytes == 0 {
            return Err(IoError::new(ErrorKind::InvalidData, "a passed file is no sealed memory of the size stated"));
        }
        let size = usize::try_from(bytes).map_err(|_| ErrorKind::InvalidData)?;
        Mapping::new(file.as_fd(), size, Access::Read).map(PeerMemory)
    }

    /// The rows that a peer describes. Refuses what does not lie inside, or is more than `limit` bytes.
    pub(crate) fn payload(&self, rows: SharedRows, limit: usize) -> Result<Payload<'_>> {
        let SharedRows { offset_bytes, rows: count, row_bytes, row_stride_bytes: stride } = rows;
        let last_row = count
            .checked_sub(1)
            .and_then(|before| before.checked_mul(stride))
            .and_then(|at| at.checked_add(offset_bytes));
        let end = last_row.and_then(|at| at.checked_add(row_bytes));
        let size = self.0.size();
        if row_bytes == 0 || end.is_none_or(|end| end > size as u64) || rows.bytes().is_none_or(|bytes| bytes > limit) {
            let message = format!(
                "shared: {count} rows of {row_bytes} bytes, stride {stride}, at offset_bytes {offset_bytes}, \
                 expected at most {limit} bytes that end within the {size} that the sender shares"
            );
            return Err(Error::new(Code::ShapeMismatch, message));
        }
        // SAFETY: in bounds (checked).
        let start = unsafe { self.0.start().as_ptr().add(offset_bytes as usize) };
        Ok(Payload {
            start,
            rows: count as usize,
            row_bytes: row_bytes as usize,
            stride: stride as usize,
            memory: PhantomData,
        })
    }
}

/// Where rows lie in memory that their sender shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SharedRows {
    pub(crate) offset_bytes: u64,
    pub(crate) rows: u64,
    pub(crate) row_bytes: u64,
    pub(crate) row_stride_bytes: u64,
}

impl SharedRows {
    /// One range of memory.
    pub(crate) fn one(offset: usize, bytes: usize) -> SharedRows {
        let (offset_bytes, bytes) = (offset as u64, bytes as u64);
        SharedRows { offset_bytes, rows: 1, row_bytes: bytes, row_stride_bytes: bytes }
    }

    /// Payload bytes, without the gaps between rows; none when no memory is that large.
    pub(crate) fn bytes(&self) -> Option<usize> {
        usize::try_from(self.rows.checked_mul(self.row_bytes)?).ok()
    }
}

/// Bytes to be placed: as they came, or rows in a peer's memory. A peer that breaks the rules may change them meanwhile: they
/// are copied, and nothing is concluded from them.
#[derive(Clone, Copy)]
pub(crate) struct Payload<'a> {
    start: *const u8,
    rows: usize,
    row_bytes: usize,
    stride: usize,
    memory: PhantomData<&'a [u8]>,
}

// SAFETY: like the slice that it stands for.
unsafe impl Send for Payload<'_> {}

impl<'a> From<&'a [u8]> for Payload<'a> {
    fn from(bytes: &'a [u8]) -> Payload<'a> {
        Payload { start: bytes.as_ptr(), rows: 1, row_bytes: bytes.len(), stride: 0, memory: PhantomData }
    }
}

impl Payload<'_> {
    pub(crate) fn len(&self) -> usize {
        self.rows * self.row_bytes
    }

    /// Copies bytes `[from, from + bytes)` to `offset` of a region; `streams` means past the caches, to be finished by
    /// `copying::finish_streaming`.
    ///
    /// # Safety
    /// The caller is the only one who uses that range of the region (M2).
    ///
    /// # Panics
    /// If the bytes are not inside the payload and the region.
    pub(crate) unsafe fn copy_to(&self, from: usize, region: &Region, offset: usize, bytes: usize, streams: bool) {
        let (mut at, end) = (from, from + bytes);
        assert!(end <= self.len(), "bytes {from}+{bytes} outside a payload of {}", self.len());
        assert!(region.contains(offset, bytes), "range {offset}+{bytes} outside a region of {} bytes", region.len());
        while at < end {
            let (row, column) = (at / self.row_bytes, at % self.row_bytes);
            let length = (self.row_bytes - column).min(end - at);
            // SAFETY: both in bounds (checked), the payload alive as it says. A region is this process's own memory, and
            // nothing that another made is a part of it.
            unsafe {
                let target = region.as_ptr().add(offset + at - from);
                let source = self.start.add(row * self.stride + column);
                if streams {
                    copying::stream(source, target, length);
                } else {
                    std::ptr::copy_nonoverlapping(source, target, length);
                }
            }
            at += length;
        }
    }
}
