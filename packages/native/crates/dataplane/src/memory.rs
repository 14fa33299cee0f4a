//! Memory that the core owns and lends: to kernels, to sockets, and to JavaScript as external array buffers. And memory that
//! others lend to it.
//!
//! Invariants:
//! M1. The bytes of a region never move and live until its last clone is dropped.
//! M2. Every byte range has one writer at a time, and nobody reads it until that writer has said so (a granule or received
//!     event, the end of a kernel call). Rows handed to `send` are not written until they are sent or their step is closed.
//!     The data plane writes only inside ranges that a step registration reserved, and checks them at registration.
//! M3. A region of a pool starts zeroed, or as a copy, and is aligned to 64 bytes. One that is lent is as its lender left it.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;

use crate::arena::Arena;
use crate::error::{Code, Error, Result};

/// Alignment of every region, in bytes: a cache line and the widest vector.
pub const REGION_ALIGN: usize = 64;

/// Smaller ones are never shared: their rows travel as copies anyway.
const SHARED_BYTES: usize = 16 << 10;

/// From here on regions are mappings of their own, in huge pages where the system offers them.
const MAPPED_BYTES: usize = 2 << 20;

/// A block of memory. Clones share it; it goes back to its pool, or to its lender, when the last one is dropped.
#[derive(Clone)]
pub struct Region(Arc<Allocation>);

struct Allocation {
    block: Block,
    len: usize,
    home: Home,
}

/// Where memory goes in the end.
enum Home {
    Pool(Arc<Shared>),
    /// Dropping it gives the memory back.
    Lender {
        _owner: Box<dyn Send + Sync>,
    },
}

impl Region {
    /// Memory of somebody else's, who gets it back when `owner` is dropped: by whichever thread drops the last clone.
    ///
    /// # Safety
    /// Until `owner` is dropped, `[start, start + len)` is initialised, stays in place, and may be read from any thread;
    /// written too, where places in it are registered as receives. The lender keeps to M2 like everybody else.
    pub unsafe fn lend(start: NonNull<u8>, len: usize, owner: Box<dyn Send + Sync>) -> Region {
        let block = Block { start, size: len, dirty: true, shared: false };
        Region(Arc::new(Allocation { block, len, home: Home::Lender { _owner: owner } }))
    }

    pub fn len(&self) -> usize {
        self.0.len
    }

    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    /// Address of the first byte, valid for `len()` bytes while any clone lives. Reading and writing through it is subject to M2.
    pub fn as_ptr(&self) -> *mut u8 {
        self.0.block.start.as_ptr()
    }

    /// Whether `[offset, offset + len)` lies inside.
    pub fn contains(&self, offset: usize, len: usize) -> bool {
        offset.checked_add(len).is_some_and(|end| end <= self.0.len)
    }

    /// The bytes `[offset, offset + len)`.
    ///
    /// # Safety
    /// Nobody writes the range while the slice lives (M2).
    ///
    /// # Panics
    /// If the range is not inside the region.
    pub unsafe fn slice(&self, offset: usize, len: usize) -> &[u8] {
        assert!(self.contains(offset, len), "range {offset}+{len} outside a region of {} bytes", self.0.len);
        // SAFETY: in bounds (checked), alive and in place (M1), initialised (M3), not written (caller, M2).
        unsafe { std::slice::from_raw_parts(self.as_ptr().add(offset), len) }
    }

    /// The bytes `[offset, offset + len)`, holding on to the region.
    ///
    /// # Safety
    /// Nobody writes the range while the result or a clone of it lives (M2).
    pub(crate) unsafe fn share(&self, offset: usize, len: usize) -> Bytes {
        assert!(self.contains(offset, len), "range {offset}+{len} outside a region of {} bytes", self.0.len);
        Bytes::from_owner(Shares { region: self.clone(), offset, len })
    }

    /// Copies `bytes` to `offset`.
    ///
    /// # Safety
    /// The caller is the only one who reads or writes the range (M2).
    ///
    /// # Panics
    /// If the range is not inside the region.
    pub unsafe fn write(&self, offset: usize, bytes: &[u8]) {
        assert!(
            self.contains(offset, bytes.len()),
            "range {offset}+{} outside a region of {} bytes",
            bytes.len(),
            self.0.len
        );
        // SAFETY: in bounds (checked), alive (M1), exclusive (caller, M2), so `bytes` cannot overlap it either.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.as_ptr().add(offset), bytes.len()) }
    }
}

struct Shares {
    region: Region,
    offset: usize,
    len: usize,
}

impl AsRef<[u8]> for Shares {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: whoever called `share` promised it.
        unsafe { self.region.slice(self.offset, self.len) }
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Region({} bytes)", self.0.len)
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        if let Home::Pool(pool) = &self.home {
            pool.give_back(self.block);
        }
    }
}

/// Hands out regions and keeps freed ones for the next step, because the first touch of a fresh mapping costs ten times a warm copy.
///
/// Regions alive and memory kept are together at most 33/32 of the most that regions ever had at once: sequences of many lengths
/// would otherwise keep blocks of every size. So a block also serves what is half as long, and where none does, those
/// that were freed first are unmapped before another is mapped.
#[derive(Clone)]
pub struct RegionPool(Arc<Shared>);

struct Shared {
    /// Most bytes kept for reuse.
    retain_bytes: usize,
    /// What peers of this host may read in place; none until a plane wants it.
    arena: OnceLock<Arc<Arena>>,
    state: Mutex<PoolState>,
}

#[derive(Default)]
struct PoolState {
    allocated_bytes: usize,
    shared_bytes: usize,
    retained_bytes: usize,
    /// The most that regions outside of the arena have had at once.
    peak_bytes: usize,
    /// Blocks mapped so far.
    mapped_blocks: u64,
    /// Blocks freed so far.
    freed_blocks: u64,
    /// Free blocks by size: the one that waits longest is in front.
    free: BTreeMap<usize, VecDeque<Freed>>,
}

/// A block, and how many were freed before it.
type Freed = (u64, Block);

impl PoolState {
    /// The smallest block that serves, of these the one freed last: its bytes may still be in a cache.
    fn take(&mut self, size: usize) -> Option<Block> {
        let most = size.saturating_mul(2);
        let fit = *self.free.range(size..=most).next()?.0;
        Some(self.remove(fit, VecDeque::pop_back))
    }

    fn remove(&mut self, size: usize, which: fn(&mut VecDeque<Freed>) -> Option<Freed>) -> Block {
        let blocks = self.free.get_mut(&size).expect("a size that has free blocks");
        let (_, block) = which(blocks).expect("sizes without a free block are removed");
        if blocks.is_empty() {
            self.free.remove(&size);
        }
        self.retained_bytes -= size;
        block
    }

    /// Takes out what has to go before a block of `size` is mapped.
    fn make_room(&mut self, size: usize) -> Vec<Block> {
        let allocated = (self.allocated_bytes - self.shared_bytes).saturating_add(size);
        let most = self.peak_bytes.max(allocated);
        let mut gone = Vec::new();
        while self.retained_bytes > 0 && allocated.saturating_add(self.retained_bytes) > most.saturating_add(most / 32)
        {
            let (_, oldest) =
                self.free.iter().map(|(&size, blocks)| (blocks[0].0, size)).min().expect("some are retained");
            gone.push(self.remove(oldest, VecDeque::pop_front));
        }
        gone
    }
}

/// What a pool holds, in bytes; sizes are of whole blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolUsage {
    /// In regions that are alive.
    pub allocated_bytes: usize,
    /// Of these, in memory that peers of this host read in place.
    pub shared_bytes: usize,
    /// Freed and kept for reuse.
    pub retained_bytes: usize,
    /// Blocks that came from the system so far: a step whose regions are all reused adds none.
    pub mapped_blocks: u64,
}

impl RegionPool {
    /// A pool that keeps at most `retain_bytes` of freed memory.
    pub fn new(retain_bytes: usize) -> RegionPool {
        RegionPool(Arc::new(Shared { retain_bytes, arena: OnceLock::new(), state: Mutex::default() }))
    }

    /// A zeroed region of `len` bytes. Fails with OVERLOADED when the system has no memory left.
    pub fn allocate(&self, len: usize) -> Result<Region> {
        let region = self.allocate_dirty(len)?;
        if region.0.block.dirty {
            // SAFETY: in bounds, and nobody else has seen this region yet.
            unsafe { std::ptr::write_bytes(region.as_ptr(), 0, len) }
        }
        Ok(region)
    }

    /// The same in memory that peers of this host read in place, for rows to be sent: while there is room for it.
    pub fn allocate_shared(&self, len: usize) -> Result<Region> {
        let Some(region) = self.shared(len, self.0.spare_bytes()) else { return self.allocate(len) };
        // SAFETY: in bounds, and nobody else has seen this region yet.
        unsafe { std::ptr::write_bytes(region.as_ptr(), 0, len) }
        Ok(region)
    }

    /// A region of the bytes given, which is not zeroed before; shared while there is room for it, since it is likely to be sent.
    pub fn copy_of(&self, bytes: &[u8]) -> Result<Region> {
        let region = match self.shared(bytes.len(), self.0.spare_bytes()) {
            Some(region) => region,
            None => self.allocate_dirty(bytes.len())?,
        };
        // SAFETY: as long as the region, and nobody else has seen it yet.
        unsafe { region.write(0, bytes) }
        Ok(region)
    }

    /// A region whose bytes are whatever an earlier one left: for the caller's own scratch that it overwrites, never for users.
    pub(crate) fn allocate_dirty(&self, len: usize) -> Result<Region> {
        let block = self
            .0
            .block(block_bytes(len))
            .ok_or_else(|| Error::new(Code::Overloaded, format!("no memory for a region of {len} bytes")))?;
        Ok(self.region(block, len))
    }

    /// Dirty like those of `allocate_dirty`, and shared; none when there is no arena or no room in it.
    pub(crate) fn allocate_staging(&self, len: usize) -> Option<Region> {
        self.shared(len, 0)
    }

    fn shared(&self, len: usize, spare: usize) -> Option<Region> {
        let arena = self.0.arena.get().filter(|_| len >= SHARED_BYTES)?;
        let size = block_bytes(len);
        let start = arena.allocate(size, spare)?;
        self.0.lock().shared_bytes += size;
        Some(self.region(Block { start, size, dirty: true, shared: true }, len))
    }

    fn region(&self, block: Block, len: usize) -> Region {
        let mut state = self.0.lock();
        state.allocated_bytes += block.size;
        state.peak_bytes = state.peak_bytes.max(state.allocated_bytes - state.shared_bytes);
        drop(state);
        Region(Arc::new(Allocation { block, len, home: Home::Pool(self.0.clone()) }))
    }

    /// Memory for peers of this host to read in place, made at the first call; none where the system has no such memory.
    pub(crate) fn share(&self, bytes: usize) -> Option<Arc<Arena>> {
        if self.0.arena.get().is_none() {
            // Another thread's arena is as good.
            let _ = self.0.arena.set(Arc::new(Arena::new(bytes).ok()?));
        }
        self.0.arena.get().cloned()
    }

    pub fn usage(&self) -> PoolUsage {
        let state = self.0.lock();
        PoolUsage {
            allocated_bytes: state.allocated_bytes,
            shared_bytes: state.shared_bytes,
            retained_bytes: state.retained_bytes,
            mapped_blocks: state.mapped_blocks,
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A free block, or a new one; none when the system refuses.
    fn block(&self, size: usize) -> Option<Block> {
        let gone = {
            let mut state = self.lock();
            if let Some(block) = state.take(size) {
                return Some(block);
            }
            state.mapped_blocks += 1;
            state.make_room(size)
        };
        gone.into_iter().for_each(Block::unmap);
        Block::map(size)
    }

    /// What regions leave of the arena, so that rows of other memory can be staged for peers to read.
    fn spare_bytes(&self) -> usize {
        self.arena.get().map_or(0, |arena| arena.size() / 4)
    }

    fn give_back(&self, block: Block) {
        let mut state = self.lock();
        state.allocated_bytes -= block.size;
        if block.shared {
            state.shared_bytes -= block.size;
            drop(state);
            self.arena.get().expect("the block is a part of it").free(block.start, block.size);
            return;
        }
        if state.retained_bytes + block.size <= self.retain_bytes {
            state.retained_bytes += block.size;
            let before = state.freed_blocks;
            state.freed_blocks += 1;
            state.free.entry(block.size).or_default().push_back((before, Block { dirty: true, ..block }));
        } else {
            drop(state);
            block.unmap();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut state.free).into_values().flatten().for_each(|(_, block)| block.unmap());
    }
}

/// One piece of memory from the system or from the arena; `size` came from `block_bytes`.
#[derive(Clone, Copy)]
struct Block {
    start: NonNull<u8>,
    size: usize,
    /// Holds bytes of an earlier region.
    dirty: bool,
    /// A part of the arena.
    shared: bool,
}

// SAFETY: a block is an address and a size; what may be done with the bytes is M2.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

/// Rounds up to four sizes per power of two (at most 25 % waste), so that steps of similar shape recycle each other's memory.
fn block_bytes(len: usize) -> usize {
    let len = len.max(REGION_ALIGN);
    let step = len.checked_next_power_of_two().map_or(REGION_ALIGN, |power| power / 8).max(REGION_ALIGN);
    len.checked_next_multiple_of(step).unwrap_or(len)
}

impl Block {
    /// Zeroed memory, or none when the system refuses.
    fn map(size: usize) -> Option<Block> {
        let start = if size < MAPPED_BYTES {
            // SAFETY: the layout is not empty.
            unsafe { alloc_zeroed(Block::layout(size)?) }
        } else {
            Block::map_pages(size)
        };
        Some(Block { start: NonNull::new(start)?, size, dirty: false, shared: false })
    }

    fn map_pages(size: usize) -> *mut u8 {
        let (protection, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new anonymous mapping touches nothing that exists.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), size, protection, kind, -1, 0) };
        if start == libc::MAP_FAILED {
            return std::ptr::null_mut();
        }
        #[cfg(target_os = "linux")]
        // SAFETY: the mapping is ours. The advice may be refused: then pages stay small.
        unsafe {
            libc::madvise(start, size, libc::MADV_HUGEPAGE);
        }
        start.cast()
    }

    fn layout(size: usize) -> Option<Layout> {
        Layout::from_size_align(size, REGION_ALIGN).ok()
    }

    fn unmap(self) {
        let start = self.start.as_ptr();
        if self.size < MAPPED_BYTES {
            let layout = Block::layout(self.size).expect("the layout it was allocated with");
            // SAFETY: allocated by `alloc_zeroed` with this layout; a block is unmapped once.
            unsafe { dealloc(start, layout) }
        } else {
            // SAFETY: mapped by `map_pages` with this size; a block is unmapped once.
            unsafe {
                libc::munmap(start.cast(), self.size);
            }
        }
    }
}

#[cfg(test)]
#[path = "memory_test.rs"]
mod tests;
