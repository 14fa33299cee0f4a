use super::*;
use crate::random::Random;

fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 1).unwrap()
}

#[test]
fn a_block_is_used_again_by_the_next_request_of_its_class() {
    let allocator = RecyclingAllocator::empty();
    for (size, again) in [(512 << 10, (512 << 10) - 9), (CLASS_BYTES, CLASS_BYTES), (LARGEST_BYTES, LARGEST_BYTES - 1)]
    {
        // SAFETY: allocated here, with that layout.
        unsafe {
            let first = allocator.alloc(layout(size));
            allocator.dealloc(first, layout(size));
            let second = allocator.alloc(layout(again));
            assert_eq!(first, second, "{size} and {again} bytes");
            allocator.dealloc(second, layout(again));
        }
    }
}

#[test]
fn requests_that_are_not_of_a_class_are_not_kept() {
    let allocator = RecyclingAllocator::empty();
    let aligned = Layout::from_size_align(CLASS_BYTES, 64).unwrap();
    for layout in [layout(CLASS_BYTES - 1), layout(LARGEST_BYTES + 1), aligned] {
        // SAFETY: allocated here, with that layout.
        unsafe { allocator.dealloc(allocator.alloc(layout), layout) };
        assert_eq!(allocator.kept_bytes.load(Ordering::Relaxed), 0, "{layout:?}");
    }
}

#[test]
fn zeroed_memory_is_zero_whatever_was_in_the_block() {
    let allocator = RecyclingAllocator::empty();
    let layout = layout(CLASS_BYTES + 1);
    // SAFETY: allocated here, with that layout, and written before it is read.
    unsafe {
        let first = allocator.alloc(layout);
        first.write_bytes(7, layout.size());
        allocator.dealloc(first, layout);
        let second = allocator.alloc_zeroed(layout);
        assert_eq!(first, second);
        assert!(std::slice::from_raw_parts(second, layout.size()).iter().all(|&byte| byte == 0));
        allocator.dealloc(second, layout);
    }
}

#[test]
fn at_most_so_much_is_kept() {
    let allocator = RecyclingAllocator::empty();
    let layout = layout(LARGEST_BYTES);
    let count = 2 * KEPT_BYTES / LARGEST_BYTES;
    // SAFETY: allocated here, with that layout.
    unsafe {
        let blocks: Vec<*mut u8> = (0..count).map(|_| allocator.alloc(layout)).collect();
        blocks.into_iter().for_each(|block| allocator.dealloc(block, layout));
    }
    assert_eq!(allocator.kept_bytes.load(Ordering::Relaxed), KEPT_BYTES);
}

#[test]
fn bytes_stay_when_a_block_grows_or_shrinks_into_any_class() {
    let allocator = RecyclingAllocator::empty();
    let mut random = Random::new(5);
    let mut size = 1;
    // SAFETY: allocated with the layout that is said each time; bytes below `size` are written.
    unsafe {
        let mut block = allocator.alloc_zeroed(layout(size));
        for round in 1..100_u8 {
            block.write_bytes(round, size);
            let next = 1 + random.below(LARGEST_BYTES + CLASS_BYTES);
            block = allocator.realloc(block, layout(size), next);
            assert!(std::slice::from_raw_parts(block, size.min(next)).iter().all(|&byte| byte == round));
            size = next;
        }
        allocator.dealloc(block, layout(size));
    }
}

#[test]
fn threads_never_hold_the_same_block() {
    static ALLOCATOR: RecyclingAllocator = RecyclingAllocator::empty();
    let layout = layout(CLASS_BYTES);
    let threads = (1..=4_u8).map(|mark| {
        std::thread::spawn(move || {
            for _ in 0..500 {
                // SAFETY: allocated here, with that layout; written before it is read.
                unsafe {
                    let block = ALLOCATOR.alloc(layout);
                    block.write_bytes(mark, layout.size());
                    std::thread::yield_now();
                    assert!(std::slice::from_raw_parts(block, layout.size()).iter().all(|&byte| byte == mark));
                    ALLOCATOR.dealloc(block, layout);
                }
            }
        })
    });
    threads.collect::<Vec<_>>().into_iter().for_each(|thread| thread.join().unwrap());
}
