use super::*;

fn bytes_of(region: &Region) -> Vec<u8> {
    // SAFETY: the test is the only user of the region.
    unsafe { region.slice(0, region.len()) }.to_vec()
}

/// Bytes of regions that are alive, and bytes retained.
fn held(pool: &RegionPool) -> (usize, usize) {
    let usage = pool.usage();
    (usage.allocated_bytes, usage.retained_bytes)
}

/// What a rank allocates in a step of `unit` bytes per tensor: scratch of its forward alone, and the gradients of its backward.
/// Returns the most that its regions had at once.
fn step(pool: &RegionPool, unit: usize) -> usize {
    let all = |sizes: &[usize]| -> Vec<Region> { sizes.iter().map(|&len| pool.allocate(len).unwrap()).collect() };
    let stored = all(&[unit, unit / 2, unit / 2, unit, unit / 64]);
    drop(all(&[unit / 4, unit / 4]));
    let gradients = all(&[unit, unit, unit / 2, unit / 2]);
    let most = pool.usage().allocated_bytes;
    drop((stored, gradients));
    most
}

#[test]
fn regions_are_aligned_and_zeroed_also_when_recycled() {
    let pool = RegionPool::new(64 << 20);
    for len in [0, 1, 63, 64, 65, 4097, (2 << 20) - 1, 2 << 20, (5 << 20) + 3] {
        for _ in 0..2 {
            let region = pool.allocate(len).unwrap();
            assert_eq!(region.as_ptr() as usize % REGION_ALIGN, 0);
            assert_eq!(region.len(), len);
            assert!(bytes_of(&region).iter().all(|&byte| byte == 0), "len {len}");
            // SAFETY: the test is the only user of the region.
            unsafe { region.write(0, &vec![0xab; len]) };
        }
    }
}

#[test]
fn freed_memory_is_handed_out_again_and_counted() {
    let pool = RegionPool::new(8 << 20);
    let first = pool.allocate(3 << 20).unwrap();
    let address = first.as_ptr() as usize;
    assert_eq!(held(&pool), (3 << 20, 0));
    let clone = first.clone();
    drop(first);
    assert_eq!(pool.usage().retained_bytes, 0, "a clone still lives");
    drop(clone);
    assert_eq!(held(&pool), (0, 3 << 20));
    assert_eq!(pool.allocate((3 << 20) - 100).unwrap().as_ptr() as usize, address);
}

#[test]
fn lent_memory_goes_back_with_the_last_clone() {
    let mut bytes = [7u8; 100];
    let owner = Arc::new(());
    let lent = Box::new(owner.clone());
    // SAFETY: the array outlives the regions, and is not used before they are gone.
    let region = unsafe { Region::lend(NonNull::from(&mut bytes[10]), 80, lent) };
    // SAFETY: the test is the only user of the region.
    unsafe { region.write(79, &[1]) };
    let clone = region.clone();
    drop(region);
    assert_eq!(bytes_of(&clone)[78..], [7, 1]);
    assert!(!clone.contains(79, 2));
    assert_eq!(Arc::strong_count(&owner), 2, "a clone still lives");
    drop(clone);
    assert_eq!(Arc::strong_count(&owner), 1);
    assert_eq!(bytes[88..91], [7, 1, 7]);
}

#[test]
fn a_pool_retains_no_more_than_its_cap() {
    let pool = RegionPool::new(4 << 20);
    let regions: Vec<Region> = (0..3).map(|_| pool.allocate(2 << 20).unwrap()).collect();
    drop(regions);
    assert_eq!(held(&pool), (0, 4 << 20));
}

#[test]
fn lengths_in_any_order_hold_little_more_than_the_largest_needs() {
    for orders in [[12, 24, 48, 96], [96, 48, 24, 12], [96, 80, 70, 50], [24, 96, 12, 48], [96, 12, 96, 12]] {
        let (pool, mut most) = (RegionPool::new(1 << 30), 0);
        for unit in orders {
            for _ in 0..3 {
                most = most.max(step(&pool, unit << 18));
                let (allocated, retained) = held(&pool);
                assert_eq!(allocated, 0);
                assert!(retained <= most + most / 32, "{orders:?}: {retained} of {most} at {unit}");
            }
        }
    }
}

#[test]
fn after_its_first_step_a_length_maps_nothing() {
    let pool = RegionPool::new(1 << 30);
    for unit in [12, 24, 48, 96, 12, 80, 33] {
        step(&pool, unit << 18);
        let mapped = pool.usage().mapped_blocks;
        for _ in 0..5 {
            step(&pool, unit << 18);
        }
        assert_eq!(pool.usage().mapped_blocks, mapped, "{unit}");
    }
}

#[test]
fn a_block_serves_what_is_half_as_long_and_a_miss_unmaps_the_oldest() {
    let pool = RegionPool::new(1 << 30);
    let [first, second] = [12, 8].map(|mib| pool.allocate(mib << 20).unwrap());
    let addresses = [&first, &second].map(|region| region.as_ptr() as usize);
    drop(first);
    drop(second);
    assert_eq!(pool.allocate(10 << 20).unwrap().as_ptr() as usize, addresses[0], "8 MiB are too short");
    assert_eq!(pool.allocate(4 << 20).unwrap().as_ptr() as usize, addresses[1], "12 MiB are more than is needed");
    // 12 MiB were freed first now. Too long for 3 MiB is either.
    drop(pool.allocate(3 << 20).unwrap());
    assert_eq!((held(&pool), pool.usage().mapped_blocks), ((0, (8 + 3) << 20), 3));
}

#[test]
fn an_impossible_size_is_overloaded_and_not_a_crash() {
    let pool = RegionPool::new(0);
    assert_eq!(pool.allocate(usize::MAX / 4).unwrap_err().code, Code::Overloaded);
    assert_eq!(pool.allocate(usize::MAX).unwrap_err().code, Code::Overloaded);
    assert_eq!(pool.usage().allocated_bytes, 0);
}

#[test]
#[should_panic(expected = "outside a region of 10 bytes")]
fn a_range_that_overflows_is_outside() {
    let region = RegionPool::new(0).allocate(10).unwrap();
    // SAFETY: never reached.
    unsafe { region.slice(usize::MAX, 2) };
}

#[test]
fn block_sizes_waste_at_most_a_quarter() {
    for len in [64, 65, 1000, 4096, 5000, (1 << 20) + 1, 123_456_789] {
        let size = block_bytes(len);
        assert!(size >= len && size <= len + len / 4 + REGION_ALIGN, "{len} -> {size}");
        assert_eq!(block_bytes(size), size);
    }
}
