//! Attention forward and backward and a matrix product on the CPU.
mod attention;
mod backward;
mod bounds;
mod element;
mod error;
mod exp2;
mod forward;
mod isa;
mod micro;
mod pack;
mod parallel;
mod rows;
mod simple;
mod workspace;

pub use attention::{AttentionParams, BackwardUnit, ForwardUnit, MAX_HEAD_SIZE};
pub use element::{Bf16, Element, F16};
pub use error::Error;
pub use isa::Isa;
pub use rows::{Strided, StridedMut};
pub use forward::forward;
pub use backward::backward;
pub use simple::{MatmulParams, Matrix, matmul};
pub use workspace::Workspaces;
