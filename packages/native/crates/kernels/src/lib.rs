//! Attention forward and backward and a matrix product on the CPU.
//!
//! One micro-kernel (`micro`) and one way of packing operands for it (`pack`) serve all three; they are written once
//! against `isa::Simd` and compiled for every instruction set, chosen at run time. Element types are float32, bfloat16
//! and float16; arithmetic is float32. Results depend on the inputs and the instruction set alone: not on the number of
//! threads, nor on timing. Working memory is linear in the rows and comes from a pool ([`Workspaces`]).
//!
//! Entry points are unsafe, for they take addresses: [`forward`], [`backward`], [`matmul`], [`fold`]. They check extents and
//! strides; whether memory is there, only the caller knows.
#![deny(unsafe_code)]
#![warn(clippy::undocumented_unsafe_blocks)]

mod attention;
#[expect(unsafe_code, reason = "vouches for operands")]
mod backward;
mod bounds;
mod check;
mod element;
mod error;
mod exp2;
#[expect(unsafe_code, reason = "vouches for operands")]
mod fold;
#[expect(unsafe_code, reason = "vouches for operands")]
mod forward;
#[expect(unsafe_code, reason = "calls intrinsics")]
mod isa;
#[expect(unsafe_code, reason = "vouches for operands")]
mod matmul;
#[expect(unsafe_code, reason = "reads and writes without bounds checks")]
mod micro;
mod pack;
mod parallel;
#[expect(unsafe_code, reason = "reads and writes through addresses")]
mod rows;
#[cfg(test)]
mod tile_shapes;
#[expect(unsafe_code, reason = "multiplies what it has checked")]
mod tiles;
mod workspace;

pub use attention::{AttentionParams, BackwardUnit, ForwardUnit, MAX_HEAD_SIZE};
pub use backward::backward;
pub use element::{Bf16, Element, F16};
pub use error::Error;
pub use fold::{FoldParams, fold};
pub use forward::forward;
pub use isa::Isa;
pub use matmul::{MatmulParams, Matrix, matmul};
pub use rows::{Strided, StridedMut};
pub use workspace::Workspaces;
