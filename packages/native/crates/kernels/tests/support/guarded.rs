//! An allocator that lays every block against a page that nobody may touch: a read or a write out of bounds ends the test.
use std::alloc::{GlobalAlloc, Layout, System};
use std::process::abort;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

#[global_allocator]
static GUARDED: Guarded = Guarded;

/// Smaller blocks are mostly the test harness's own.
const LEAST_BYTES: usize = 64;
/// What the rest of a block's pages holds; writing there shows when the block is freed.
const SLACK: u8 = 0xe5;

/// Blocks begin after a guard page or end at one, in turn, as far as their alignment lets them.
struct Guarded;

static COUNT: AtomicUsize = AtomicUsize::new(0);

/// A page's size, and that of the pages a block takes.
fn extents(layout: Layout) -> (usize, usize) {
    // SAFETY: a question to the system.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
    (page, layout.size().next_multiple_of(page))
}

/// Kernels work on 16-bit and 32-bit numbers. What else is allocated, the float64 reference's rows above all, would cost a minute.
fn guards(layout: Layout) -> bool {
    layout.size() >= LEAST_BYTES && matches!(layout.align(), 2 | 4)
}

// SAFETY: blocks are parts of private mappings, as large and as aligned as asked for; the rest is the system's.
unsafe impl GlobalAlloc for Guarded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !guards(layout) {
            // SAFETY: the caller's promises.
            return unsafe { System.alloc(layout) };
        }
        let (page, inner) = extents(layout);
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping, and changes inside it.
        unsafe {
            let start = libc::mmap(null_mut(), inner + 2 * page, libc::PROT_NONE, kind, -1, 0).cast::<u8>();
            if start == libc::MAP_FAILED.cast() || libc::mprotect(start.add(page).cast(), inner, access) != 0 {
                return null_mut();
            }
            let slack = inner - layout.size();
            let at_end = COUNT.fetch_add(1, Relaxed).is_multiple_of(2);
            // Rounded down to the alignment, which loses a few bytes of the guard.
            let offset = if at_end { slack & !(layout.align() - 1) } else { 0 };
            let usable = start.add(page);
            usable.write_bytes(SLACK, offset);
            usable.add(offset + layout.size()).write_bytes(SLACK, slack - offset);
            usable.add(offset)
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if !guards(layout) {
            // SAFETY: the caller's promises; as it was allocated.
            return unsafe { System.dealloc(block, layout) };
        }
        let (page, inner) = extents(layout);
        // The slack is less than a page, so every block begins in its first one.
        let offset = block.addr() % page;
        let usable = block.wrapping_sub(offset);
        // SAFETY: the pages of this block, of which the caller gives up its part.
        unsafe {
            let before = std::slice::from_raw_parts(usable, offset);
            let end = offset + layout.size();
            let after = std::slice::from_raw_parts(usable.add(end), inner - end);
            if before.iter().chain(after).any(|byte| *byte != SLACK) {
                const SAYS: &[u8] = b"memory beside a block was written\n";
                libc::write(2, SAYS.as_ptr().cast(), SAYS.len());
                abort();
            }
            libc::munmap(usable.wrapping_sub(page).cast(), inner + 2 * page);
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !guards(layout) {
            // SAFETY: the caller's promises.
            return unsafe { System.alloc_zeroed(layout) };
        }
        // SAFETY: new mappings are zeroed.
        unsafe { self.alloc(layout) }
    }
}
