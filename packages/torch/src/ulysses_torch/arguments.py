"""The command-line flags that trainers know, with their rules."""

from __future__ import annotations

import argparse
import re

ALGORITHM = "ulysses_cp_algo"
POLICIES = ("full", "half", "auto", "none")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --context-parallel-size, --context-parallel-algo and --context-parallel-kv-cache-policy."""
    group = parser.add_argument_group("context parallelism")
    group.add_argument(
        "--context-parallel-size", type=_size, default=None, metavar="N", help="ranks of the cluster, more than 1"
    )
    group.add_argument(
        "--context-parallel-algo", choices=[ALGORITHM], default=ALGORITHM, help="the only algorithm (default)"
    )
    group.add_argument(
        "--context-parallel-kv-cache-policy",
        choices=POLICIES,
        default=None,
        help="K (half) or K and V (full) are exchanged again in backward, not kept on ranks; default: the cluster's",
    )


def _size(text: str) -> int:
    # Digits only, as the command line has it: int() also takes blanks, underscores and digits of other scripts.
    size = int(text) if re.fullmatch("[0-9]+", text) else 0
    if size <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}, expected an integer above 1")
    return size
