//! An allocator that keeps blocks of the size of frames for the next ones.
//!
//! hyper reads each frame into memory that it allocates, and nothing lets its user choose that memory. Between steps malloc gives it
//! back to the kernel, so that at the next step every page is faulted in and cleared again: a quarter of the CPU time of an
//! all-to-all of 4 MiB per rank (0.80 CPU-s/GB, 0.62 with blocks kept; 0.70 of gloo's speed, 1.02). What would stop malloc from it
//! is a setting of the whole process, which is somebody else's, so the native library has an allocator of its own.
//!
//! Invariants:
//! C1. A slot is empty or holds a block of its class that nobody uses; a block is in one slot at most.
//! C2. Kept blocks are `KEPT_BYTES` at most. `kept_bytes` never says less than the slots hold.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// Blocks of a class are as large as the largest request that they serve.
const CLASS_BYTES: usize = 64 << 10;
/// Frames are at most `PlaneOptions::frame_bytes`; behind each there is room for the head of the next.
const LARGEST_BYTES: usize = 1 << 20;
const CLASSES: usize = LARGEST_BYTES / CLASS_BYTES;
const SLOTS: usize = 32;
/// Enough for what a few links have under way; more goes to the system's allocator.
const KEPT_BYTES: usize = 16 << 20;
/// What the system's allocator gives to everybody.
const ALIGN: usize = 16;

/// For `#[global_allocator]` of a library that opens planes.
pub struct RecyclingAllocator {
    slots: [[AtomicPtr<u8>; SLOTS]; CLASSES],
    kept_bytes: AtomicUsize,
}

impl RecyclingAllocator {
    pub const fn empty() -> RecyclingAllocator {
        RecyclingAllocator {
            slots: [const { [const { AtomicPtr::new(null_mut()) }; SLOTS] }; CLASSES],
            kept_bytes: AtomicUsize::new(0),
        }
    }

    fn take(&self, class: usize) -> Option<*mut u8> {
        let filled = self.slots[class].iter().filter(|slot| !slot.load(Ordering::Relaxed).is_null());
        // Another thread may have been faster. Acquire: what its last user did with the block is over.
        let block = filled.map(|slot| slot.swap(null_mut(), Ordering::Acquire)).find(|block| !block.is_null())?;
        self.kept_bytes.fetch_sub(block_layout(class).size(), Ordering::Relaxed);
        Some(block)
    }

    /// False when there is no room for it.
    fn keep(&self, class: usize, block: *mut u8) -> bool {
        let size = block_layout(class).size();
        // Counted before it can be taken (C2).
        let has_room = self.kept_bytes.fetch_add(size, Ordering::Relaxed) + size <= KEPT_BYTES;
        let put = |slot: &AtomicPtr<u8>| {
            slot.compare_exchange(null_mut(), block, Ordering::Release, Ordering::Relaxed).is_ok()
        };
        let kept = has_room && self.slots[class].iter().any(put);
        if !kept {
            self.kept_bytes.fetch_sub(size, Ordering::Relaxed);
        }
        kept
    }
}

/// The class that serves a request; none when that is left to the system.
fn class_of(layout: Layout) -> Option<usize> {
    let fits = (CLASS_BYTES..=LARGEST_BYTES).contains(&layout.size()) && layout.align() <= ALIGN;
    fits.then(|| layout.size().div_ceil(CLASS_BYTES) - 1)
}

const fn block_layout(class: usize) -> Layout {
    match Layout::from_size_align((class + 1) * CLASS_BYTES, ALIGN) {
        Ok(layout) => layout,
        Err(_) => unreachable!(),
    }
}

// SAFETY: a block comes from the system's allocator with its class's layout, which has room for every layout of that class,
// and goes back to it with the same one. Between those it has one user at a time (C1). Everything else is passed on as it is.
unsafe impl GlobalAlloc for RecyclingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match class_of(layout) {
            // SAFETY: block layouts are not empty.
            Some(class) => self.take(class).unwrap_or_else(|| unsafe { System.alloc(block_layout(class)) }),
            // SAFETY: the caller's promise.
            None => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match class_of(layout) {
            Some(class) if self.keep(class, block) => (),
            // SAFETY: allocated with it above.
            Some(class) => unsafe { System.dealloc(block, block_layout(class)) },
            // SAFETY: the caller's promise.
            None => unsafe { System.dealloc(block, layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if class_of(layout).is_none() {
            // SAFETY: the caller's promise.
            return unsafe { System.alloc_zeroed(layout) };
        }
        // SAFETY: the caller's promise.
        let block = unsafe { self.alloc(layout) };
        if !block.is_null() {
            // SAFETY: so long at least, and nobody else's.
            unsafe { block.write_bytes(0, layout.size()) }
        }
        block
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the caller promises that the new size is one of a layout.
        let wanted = unsafe { Layout::from_size_align_unchecked(new_size, layout.align()) };
        match (class_of(layout), class_of(wanted)) {
            // SAFETY: the caller's promise.
            (None, None) => unsafe { System.realloc(block, layout, new_size) },
            (from, to) if from == to => block,
            _ => {
                // SAFETY: the caller's promise.
                let moved = unsafe { self.alloc(wanted) };
                if !moved.is_null() {
                    // SAFETY: both are so long, and apart; the old one is the caller's until here.
                    unsafe {
                        moved.copy_from_nonoverlapping(block, layout.size().min(new_size));
                        self.dealloc(block, layout);
                    }
                }
                moved
            }
        }
    }
}

#[cfg(test)]
#[path = "recycling_test.rs"]
mod tests;
