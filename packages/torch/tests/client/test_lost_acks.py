"""A committed step is over for an owner that has its results: that its own rows arrived is what the commit says."""

import time

import numpy as np

from tests.conftest import has_native
from ulysses_client.exchange.data_path import OpenStep, StepTransfer
from ulysses_client.exchange.owner_exchange import Send
from ulysses_client.exchange.step_channel import StepChannel
from ulysses_client.plan import RowRange
from ulysses_client.wire.convert import RankAddress, StepKey

KEY = StepKey("job", "session", 0, "forward", 0)
SENDS = [Send(0, "q", 0, np.zeros((4, 16), np.uint8), RowRange(0, 4))]
RANK = RankAddress(0, "member", "127.0.0.1:1")


def expect_over_when_committed(step: OpenStep | StepChannel) -> None:
    assert not step.wait(time.monotonic() + 0.05), "it is not committed"
    step.committed()
    assert step.wait(time.monotonic() + 10)


def test_no_ack_is_waited_for_after_the_commit() -> None:
    expect_over_when_committed(StepChannel(KEY, 1, [], SENDS))


@has_native
def test_no_ack_is_waited_for_after_the_commit_of_a_native_step() -> None:
    from ulysses_native import Plane

    from ulysses_client.exchange.native_path import NativeStep

    plane = Plane("owner 0")
    try:
        step = NativeStep(plane, 0, StepTransfer(KEY, 1, SENDS, []), [RANK], ["rank/0/member"])
        expect_over_when_committed(step)
        step.close()
    finally:
        plane.close()
