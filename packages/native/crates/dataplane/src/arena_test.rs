use std::os::fd::AsRawFd;

use super::*;
use crate::random::Random;

const SIZE: usize = 32 << 20;

#[test]
fn extents_never_overlap_and_all_room_comes_back() {
    let arena = Arena::new(SIZE).unwrap();
    let mut random = Random::new(11);
    let mut held: Vec<(usize, usize)> = Vec::new();
    for _ in 0..4000 {
        if held.len() > 40 || (random.below(3) == 0 && !held.is_empty()) {
            let (start, size) = held.swap_remove(random.below(held.len()));
            arena.free(NonNull::new(start as *mut u8).unwrap(), size);
            continue;
        }
        let size = REGION_ALIGN * (1 + random.below(20_000));
        let Some(start) = arena.allocate(size, 0) else { continue };
        let start = start.as_ptr() as usize;
        assert!(arena.offset_of(start as *const u8, size).is_some());
        assert!(held.iter().all(|&(other, length)| start + size <= other || other + length <= start));
        held.push((start, size));
    }
    for (start, size) in held {
        arena.free(NonNull::new(start as *mut u8).unwrap(), size);
    }
    assert!(arena.allocate(arena.size(), 0).is_some(), "all of it is one extent again");
    assert!(arena.allocate(REGION_ALIGN, 0).is_none(), "it is full");
}

#[test]
fn what_is_to_be_spared_is_not_handed_out() {
    let arena = Arena::new(SIZE).unwrap();
    assert!(arena.allocate(SIZE - 4096, 8192).is_none());
    assert!(arena.allocate(SIZE - 8192, 8192).is_some());
    assert!(arena.allocate(4096, 4097).is_none());
    assert!(arena.allocate(4096, 4096).is_some());
}

#[test]
fn only_bytes_of_the_arena_have_a_place_in_it() {
    let arena = Arena::new(SIZE).unwrap();
    let start = arena.allocate(4096, 0).unwrap().as_ptr().cast_const();
    assert_eq!(arena.offset_of(start, 4096), Some(0));
    assert_eq!(arena.offset_of(start.wrapping_add(100), arena.size() - 100), Some(100));
    assert_eq!(arena.offset_of(start.wrapping_add(100), arena.size()), None);
    assert_eq!(arena.offset_of(start.wrapping_sub(1), 1), None);
    assert_eq!(arena.offset_of([0u8; 64].as_ptr(), 64), None);
}

#[test]
fn the_file_is_private_sealed_and_closed_to_other_writers() {
    let arena = Arena::new(1).unwrap();
    let file = std::fs::File::from(arena.file().try_clone_to_owned().unwrap());
    let metadata = file.metadata().unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&metadata) & 0o7777, 0o600);
    assert_eq!(metadata.len(), arena.size() as u64);
    assert!(sealed_file::is_sealed(arena.file()));
    assert!(file.set_len(4096).is_err(), "cannot shrink");
    assert!(file.set_len(2 * metadata.len()).is_err(), "cannot grow");
    assert!(std::io::Write::write(&mut &file, b"x").is_err(), "cannot be written");
    assert!(Mapping::new(arena.file(), 4096, Access::Write).is_err(), "cannot be mapped for writing");
    assert!(Mapping::new(arena.file(), 4096, Access::Read).is_ok());
    // SAFETY: a call on an open descriptor.
    assert!(unsafe { libc::fcntl(arena.file().as_raw_fd(), libc::F_ADD_SEALS, libc::F_SEAL_WRITE) } < 0);
}
