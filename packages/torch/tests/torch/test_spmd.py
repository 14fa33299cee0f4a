"""Trainer processes that each hold a shard, as `torchrun` starts them."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from tests.cluster import TestCluster
from ulysses_torch import UlyssesContextAttention, connect

from .parity import expect_parity, local_attention, random_inputs, results
from .processes import run_trainers, trainers

PROGRAM = """
import sys
import torch, torch.distributed as dist
from ulysses_torch import StepMismatchError, UlyssesContextAttention, connect
from tests.torch.parity import random_inputs, results

dist.init_process_group("gloo")
splits = [int(each) for each in sys.argv[2].split(",")]
rank = dist.get_rank()
group = dist.group.WORLD
if sys.argv[3] == "both":
    group = (group, connect(sys.argv[4], job="spmd"))
shards = [tensor.split(splits)[rank] for tensor in random_inputs((sum(splits), 1, 5, 16), 1, torch.float32)]
first, second = (UlyssesContextAttention(None, group, causal=True) for _ in range(2))
parts = results(lambda q, k, v: first(q, k, v), *shards)
again = results(lambda q, k, v: second(q, k, v), *shards)
assert all(torch.equal(a, b) for a, b in zip(parts, again))
torch.save(parts, f"{sys.argv[1]}/{rank}.pt")
with connect(sys.argv[4], job=f"job-{rank}") as own:
    try:
        UlyssesContextAttention(None, (dist.new_group(), own))
    except StepMismatchError as error:
        print(error.message, error.details["peer"])
dist.barrier()
dist.destroy_process_group()
"""


@pytest.mark.parametrize(("splits", "how", "data_path"), [([126, 1], "environment", ""), ([60, 67], "both", "grpcio")])
def test_a_process_group_says_who_the_owners_are_and_that_their_jobs_differ(
    cluster: TestCluster, tmp_path: Path, splits: list[int], how: str, data_path: str
) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    arguments = [str(tmp_path), ",".join(map(str, splits)), how, cluster.address]
    address = {"ULYSSES_ADDRESS": cluster.address} if how == "environment" else {}
    printed = run_trainers(program, len(splits), *arguments, ULYSSES_DATA_PATH=data_path, **address)
    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in range(len(splits))]
    inputs = random_inputs((sum(splits), 1, 5, 16), 1, torch.float32)
    with connect(cluster.address) as alone:
        whole = expect_parity(
            UlyssesContextAttention(None, alone, causal=True), local_attention("sbhd", causal=True), inputs
        )
    for got, want in zip(zip(*parts, strict=True), whole, strict=True):
        assert torch.equal(torch.cat(got), want)
    said = "job is \"job-1\", expected 'job-0', as owner 0 has it owner 1"
    assert printed == [f"{said}\n"] * len(splits)


UNTIL_REPLAYED = """
import sys
import torch, torch.distributed as dist
from ulysses_torch import UlyssesContextAttention, connect
from tests.torch.parity import random_inputs, results

dist.init_process_group("gloo")
rank, replays = dist.get_rank(), []
with connect(sys.argv[2], on_replay=lambda error, attempt: replays.append(error)) as cluster:
    attention = UlyssesContextAttention(None, (dist.group.WORLD, cluster), causal=True)
    shards = [tensor.split([700, 301])[rank] for tensor in random_inputs((1001, 1, 5, 32), 1, torch.float32)]
    alone = results(attention, *shards)
    if rank == 0:
        print("steps", flush=True)
    heard = torch.zeros(1)
    while not heard:
        parts = results(attention, *shards)
        assert all(torch.equal(a, b) for a, b in zip(parts, alone))
        heard[0] = len(replays)
        # All make as many calls.
        dist.all_reduce(heard)
assert replays
torch.save(parts, f"{sys.argv[1]}/{rank}.pt")
dist.destroy_process_group()
"""


def test_processes_of_a_group_replay_when_a_rank_is_killed(mortal: TestCluster, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(UNTIL_REPLAYED)
    with trainers(program, 2, str(tmp_path), mortal.address) as started:
        assert started[0].stdout is not None
        assert started[0].stdout.readline() == "steps\n"
        # A kill between two steps is heard of by nobody: then a rank is killed once more.
        while started[0].poll() is None:
            mortal.wait_running()
            mortal.kill(1)
            mortal.wait_complete()
            with suppress(subprocess.TimeoutExpired):
                started[0].wait(15)
        for process in started:
            _, errors = process.communicate(timeout=60)
            assert process.returncode == 0, errors[-3000:]
    parts = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    inputs = random_inputs((1001, 1, 5, 32), 1, torch.float32)
    with connect(mortal.address) as alone:
        whole = results(UlyssesContextAttention(None, alone, causal=True), *inputs)
    for got, want in zip(zip(*parts, strict=True), whole, strict=True):
        assert torch.equal(torch.cat(got), want)


def test_ctrl_c_ends_a_backward_that_waits(cluster: TestCluster) -> None:
    """Owner 1 never calls backward, so owner 0 waits for it."""
    program = (
        "import sys, threading, torch\n"
        "from ulysses_torch import UlyssesContextAttention, connect\n"
        "owners = [connect(sys.argv[1], session='ctrl-c', owner_index=i, owner_count=2) for i in range(2)]\n"
        "q = [torch.randn(8, 1, 2, 16, requires_grad=True) for _ in owners]\n"
        "call = lambda i: UlyssesContextAttention(None, owners[i])(q[i], q[i], q[i])\n"
        "other = threading.Thread(target=call, args=(1,))\n"
        "other.start()\n"
        "out = call(0)\n"
        "other.join()\n"
        "print('waits', flush=True)\n"
        "try:\n"
        "    out.sum().backward()\n"
        "except KeyboardInterrupt:\n"
        "    [owner.close() for owner in owners]\n"
        "    print('interrupted', [thread.name for thread in threading.enumerate()], flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, cluster.address],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "waits\n"
    cluster.wait_running()
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "interrupted ['MainThread']\n"
    assert process.wait(10) == 0
    process.stdout.close()
