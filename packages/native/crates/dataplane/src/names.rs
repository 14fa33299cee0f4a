//! How steps, their parties and their tensors are named, in memory and on the wire.

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Computes units.
    Rank,
    /// Holds rows of every head.
    Owner,
}

/// One end of a transfer. Displays as `rank 2` or `owner 0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Party {
    pub role: Role,
    pub index: u32,
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = match self.role {
            Role::Rank => "rank",
            Role::Owner => "owner",
        };
        write!(f, "{role} {}", self.index)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pass {
    Forward,
    Backward,
}

impl Pass {
    pub fn as_str(self) -> &'static str {
        match self {
            Pass::Forward => "forward",
            Pass::Backward => "backward",
        }
    }
}

/// Names one attempt at one step.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StepKey {
    pub job: String,
    pub session: String,
    pub call: u64,
    pub pass: Pass,
    pub attempt: u32,
}

impl StepKey {
    /// Whether `other` is a later attempt at the same step.
    pub(crate) fn is_older_attempt(&self, other: &StepKey) -> bool {
        let StepKey { job, session, call, pass, attempt } = self;
        *attempt < other.attempt && (job, session, call, pass) == (&other.job, &other.session, &other.call, &other.pass)
    }
}

impl fmt::Display for StepKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StepKey { job, session, call, pass, attempt } = self;
        write!(f, "{job}/{session}/{call}/{}/{attempt}", pass.as_str())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tensor {
    Q,
    K,
    V,
    Out,
    Lse,
    Dout,
    Dq,
    Dk,
    Dv,
    /// A tensor of any shape, in an exchange alone.
    Exchanged,
}

impl Tensor {
    pub const ALL: [Tensor; 10] = [
        Tensor::Q,
        Tensor::K,
        Tensor::V,
        Tensor::Out,
        Tensor::Lse,
        Tensor::Dout,
        Tensor::Dq,
        Tensor::Dk,
        Tensor::Dv,
        Tensor::Exchanged,
    ];

    /// The name in TypeScript.
    pub fn as_str(self) -> &'static str {
        match self {
            Tensor::Q => "q",
            Tensor::K => "k",
            Tensor::V => "v",
            Tensor::Out => "out",
            Tensor::Lse => "lse",
            Tensor::Dout => "dout",
            Tensor::Dq => "dq",
            Tensor::Dk => "dk",
            Tensor::Dv => "dv",
            Tensor::Exchanged => "exchanged",
        }
    }
}

impl fmt::Display for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
