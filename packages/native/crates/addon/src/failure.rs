//! Failures as they cross the border: text in separated fields that `src/errors.ts` turns into the project's one error class.

use std::any::Any;
use std::fmt::Display;

use ulysses_dataplane as dataplane;
use ulysses_kernels as kernels;

/// `code` is a row of the project's error table.
#[derive(Debug)]
pub struct Failure {
    code: &'static str,
    message: String,
    /// Name, value and expectation, when the failure is about one field of the call.
    field: Option<[String; 3]>,
}

pub type Result<T> = std::result::Result<T, Failure>;

const MARK: &str = "ulysses";
const SEPARATOR: &str = "\u{1f}";

impl Failure {
    pub fn new(code: &'static str, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into(), field: None }
    }

    pub fn field(code: &'static str, field: impl Display, value: impl Display, expected: impl Display) -> Failure {
        let message = format!("{field} is {value}, expected {expected}");
        let field = Some([field.to_string(), value.to_string(), expected.to_string()]);
        Failure { code, message, field }
    }

    pub fn shape(field: impl Display, value: impl Display, expected: impl Display) -> Failure {
        Failure::field("SHAPE_MISMATCH", field, value, expected)
    }

    pub fn unsupported(field: impl Display, value: impl Display, expected: impl Display) -> Failure {
        Failure::field("UNSUPPORTED", field, value, expected)
    }

    /// What a caught panic was about.
    pub fn panicked(payload: Box<dyn Any + Send>) -> Failure {
        let text = payload
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| payload.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        Failure::new("INVARIANT", format!("the native core panicked: {text}"))
    }
}

impl From<Failure> for napi::Error {
    fn from(failure: Failure) -> napi::Error {
        let mut fields = vec![MARK, failure.code, &failure.message];
        fields.extend(failure.field.iter().flatten().map(String::as_str));
        napi::Error::from_reason(fields.join(SEPARATOR))
    }
}

impl From<dataplane::Error> for Failure {
    fn from(error: dataplane::Error) -> Failure {
        Failure::new(error.code.as_str(), error.message)
    }
}

impl From<kernels::Error> for Failure {
    fn from(error: kernels::Error) -> Failure {
        let code = match error {
            kernels::Error::Shape(_) => "SHAPE_MISMATCH",
            kernels::Error::Unsupported(_) => "UNSUPPORTED",
            kernels::Error::Cancelled => "CANCELLED",
        };
        Failure::new(code, error.to_string())
    }
}
