"""The closed table of failures, as exception classes; the same codes as everywhere else (docs/protocol.md)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import ClassVar


class UlyssesError(Exception):
    """Base of all failures: a stable `code`, a message for people, and plain `details`."""

    code: ClassVar[str] = "INVARIANT"
    #: True when repeating the step, after the next epoch if need be, can succeed.
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, details: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, str] = dict(details or {})

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"

    @property
    def field(self) -> str | None:
        """Which field of the call is wrong."""
        return self.details.get("field")

    @property
    def value(self) -> str | None:
        """What came, as text."""
        return self.details.get("value")

    @property
    def expected(self) -> str | None:
        """What was expected."""
        return self.details.get("expected")

    @property
    def peer(self) -> str | None:
        """The rank or owner that the failure is about: `rank 2`, `owner 0`."""
        return self.details.get("peer")


class ShapeMismatchError(UlyssesError):
    code = "SHAPE_MISMATCH"


class StepMismatchError(UlyssesError):
    code = "STEP_MISMATCH"


class PlanInvalidError(UlyssesError):
    code = "PLAN_INVALID"


class StaleEpochError(UlyssesError):
    code = "STALE_EPOCH"
    retryable = True


class PeerLostError(UlyssesError):
    code = "PEER_LOST"
    retryable = True


class LeaseLostError(UlyssesError):
    code = "LEASE_LOST"
    retryable = True


class DeadlineError(UlyssesError):
    code = "DEADLINE"


class CancelledError(UlyssesError):
    code = "CANCELLED"


class UnauthenticatedError(UlyssesError):
    code = "UNAUTHENTICATED"


class ForbiddenError(UlyssesError):
    code = "FORBIDDEN"


class UnsupportedError(UlyssesError):
    code = "UNSUPPORTED"


class HandleGoneError(UlyssesError):
    code = "HANDLE_GONE"
    retryable = True


class OverloadedError(UlyssesError):
    code = "OVERLOADED"
    retryable = True


class ConfigError(UlyssesError):
    code = "CONFIG"


class InvariantError(UlyssesError):
    code = "INVARIANT"


ERROR_CLASSES: Mapping[str, type[UlyssesError]] = {
    error.code: error
    for error in (
        ShapeMismatchError,
        StepMismatchError,
        PlanInvalidError,
        StaleEpochError,
        PeerLostError,
        LeaseLostError,
        DeadlineError,
        CancelledError,
        UnauthenticatedError,
        ForbiddenError,
        UnsupportedError,
        HandleGoneError,
        OverloadedError,
        ConfigError,
        InvariantError,
    )
}


def error_of(code: str, message: str, details: Mapping[str, str] | None = None) -> UlyssesError:
    """The exception of a code; one that this build does not know becomes INVARIANT, with the code in the message."""
    error = ERROR_CLASSES.get(code)
    if error is None:
        return InvariantError(f"unknown error code {code!r}: {message}", details)
    return error(message, details)


def field_error(error: type[UlyssesError], field: str, value: object, expected: str, **more: str) -> UlyssesError:
    """An error about one field of a call: names the field, what came and what was expected."""
    text = describe(value)
    return error(
        f"{field} is {text}, expected {expected}", {**more, "field": field, "value": text, "expected": expected}
    )


def describe(value: object) -> str:
    """A value as it appears in a message: strings quoted, long values cut at 200 characters."""
    if isinstance(value, str):
        text = json.dumps(value, ensure_ascii=False)
    elif isinstance(value, (list, tuple)):
        text = str(list(value))
    else:
        text = str(value)
    return f"{text[:200]}…" if len(text) > 200 else text
