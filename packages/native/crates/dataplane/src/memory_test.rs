use super::*;

fn bytes_of(region: &Region) -> Vec<u8> {
    // SAFETY: the test is the only user of the region.
    unsafe { region.slice(0, region.len()) }.to_vec()
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
    assert_eq!(pool.usage(), PoolUsage { allocated_bytes: 3 << 20, shared_bytes: 0, retained_bytes: 0 });
    let clone = first.clone();
    drop(first);
    assert_eq!(pool.usage().retained_bytes, 0, "a clone still lives");
    drop(clone);
    assert_eq!(pool.usage(), PoolUsage { allocated_bytes: 0, shared_bytes: 0, retained_bytes: 3 << 20 });
    assert_eq!(pool.allocate((3 << 20) - 100).unwrap().as_ptr() as usize, address);
    pool.trim();
    assert_eq!(pool.usage(), PoolUsage { allocated_bytes: 0, shared_bytes: 0, retained_bytes: 0 });
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
    assert_eq!(pool.usage(), PoolUsage { allocated_bytes: 0, shared_bytes: 0, retained_bytes: 4 << 20 });
}

#[test]
fn an_impossible_size_is_overloaded_and_not_a_crash() {
    let pool = RegionPool::new(0);
    assert_eq!(pool.allocate(usize::MAX / 4).unwrap_err().code, Code::Overloaded);
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
