"""The example programs run, and train what local attention trains."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster import TestCluster

ROOT = Path(__file__).parents[4]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def run(cluster: TestCluster, *command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "ULYSSES_ADDRESS": cluster.address}
    finished = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=110, check=False
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    # Progress is written between the bars.
    return finished.stdout + finished.stderr


def losses(output: str, other: str) -> list[tuple[float, float]]:
    return [(float(a), float(b)) for a, b in re.findall(rf"loss ([0-9.]+)  {other} ([0-9.]+)", output)]


@pytest.mark.parametrize(
    ("command", "other", "steps"),
    [
        (["examples/torch_train_lm.py", "README.md", "docs", "--max-length", "333"], "local", 6),
        (["examples/hf_train.py", "README.md", "docs", "--max-length", "201"], "sdpa", 4),
        (["examples/hf_train.py", "README.md", "--model", "gpt2", "--max-length", "99"], "sdpa", 2),
        ([*TORCHRUN, "examples/torch_spmd.py", "--length", "127"], "one process", 4),
    ],
    ids=["torch_train_lm", "hf_train", "hf_train of gpt2", "torch_spmd"],
)
def test_it_trains_what_local_attention_trains(
    cluster: TestCluster, command: list[str], other: str, steps: int
) -> None:
    output = run(cluster, *command, "--steps", str(steps), "--compare")
    # The bar's last state: all steps, and how fast.
    assert re.search(r"100%.* tokens/s", output)
    pairs = losses(output, other)
    assert len(pairs) == steps
    # Steps see different texts, so losses need not fall; that later ones agree says that the updates did.
    assert all(ours == pytest.approx(local, rel=1e-4) for ours, local in pairs)
