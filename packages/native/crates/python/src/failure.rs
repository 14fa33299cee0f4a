//! Failures as Python gets them: a code of the project's error table and a message.

use pyo3::PyErr;
use pyo3::create_exception;
use pyo3::exceptions::PyException;
use ulysses_dataplane::{Code, Error};

create_exception!(ulysses_native, PlaneError, PyException);

pub fn failure(error: Error) -> PyErr {
    PlaneError::new_err((error.code.as_str(), error.message))
}

pub fn closed() -> PyErr {
    failure(Error::new(Code::Cancelled, "the tensor plane is closed"))
}

/// Names the field, what came and what was expected.
pub fn shape(field: &str, value: impl std::fmt::Display, expected: &str) -> PyErr {
    failure(Error::new(Code::ShapeMismatch, format!("{field} is {value}, expected {expected}")))
}
