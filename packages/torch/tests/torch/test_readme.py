"""The README's example runs as it stands, and the flags follow their rules."""

import argparse
import re
from pathlib import Path

import pytest

from tests.cluster import TestCluster
from ulysses_torch import add_arguments

README = Path(__file__).parents[4] / "README.md"


def test_the_example_runs(
    cluster: TestCluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ULYSSES_ADDRESS", cluster.address)
    (source,) = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.M | re.S)
    exec(compile(source, str(README), "exec"), {})
    q, kv = "torch.Size([1021, 1, 6, 64])", "torch.Size([1021, 1, 2, 64])"
    assert capsys.readouterr().out == f"{q} {kv} {kv}\n"


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(exit_on_error=False)
    add_arguments(made)
    return made


def test_flags_are_read(parser: argparse.ArgumentParser) -> None:
    flags = ["--context-parallel-size", "4", "--context-parallel-kv-cache-policy", "half"]
    arguments = parser.parse_args(flags)
    assert arguments.context_parallel_size == 4
    assert arguments.context_parallel_algo == "ulysses_cp_algo"
    assert arguments.context_parallel_kv_cache_policy == "half"


@pytest.mark.parametrize(
    "flags",
    [
        ["--context-parallel-size", "1"],
        ["--context-parallel-size", "two"],
        ["--context-parallel-size", "1_0"],
        ["--context-parallel-size", " 4"],
        ["--context-parallel-size", "٤"],
        ["--context-parallel-algo", "ring"],
        ["--context-parallel-kv-cache-policy", "quarter"],
    ],
)
def test_flags_outside_their_rules_are_refused(parser: argparse.ArgumentParser, flags: list[str]) -> None:
    with pytest.raises(argparse.ArgumentError) as refused:
        parser.parse_args(flags)
    assert refused.value.argument_name == flags[0]
