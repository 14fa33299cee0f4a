//! That tests would see a kernel leave its memory: the guard pages of `support/guarded.rs` end a process that does.
#![cfg(target_os = "linux")]
mod support;

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

/// Set in the process that misbehaves: which element it touches, counted from the first or from behind the last.
const OFFSET: &str = "ULYSSES_TEST_OFFSET";

#[test]
fn a_read_beside_a_buffer_ends_the_process() {
    if let Ok(offset) = std::env::var(OFFSET) {
        return read_beside(offset.parse().unwrap());
    }
    for offset in ["-1", "1000"] {
        let own = std::env::current_exe().unwrap();
        let name = "a_read_beside_a_buffer_ends_the_process";
        let output = Command::new(own).args([name, "--exact"]).env(OFFSET, offset).output().unwrap();
        assert_eq!(output.status.signal(), Some(libc::SIGSEGV), "element {offset}");
    }
}

/// Blocks lie against either guard page in turn, so one of two reads crashes.
fn read_beside(offset: isize) {
    for _ in 0..2 {
        let buffer = std::hint::black_box(vec![1.0f32; 1000]);
        // SAFETY: none. This is the mistake that has to be seen.
        std::hint::black_box(unsafe { buffer.as_ptr().offset(offset).read_volatile() });
    }
}
