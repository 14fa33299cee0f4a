"""Static checks of the Python code: format, lint, types, generated messages. Types of PyTorch code need PyTorch."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FORMATTED = [".", "../../examples", "../../bench", "../native/crates/python", "--config", "pyproject.toml"]


def main() -> None:
    packages = ["src/ulysses_client"]
    if importlib.util.find_spec("torch") is not None:
        packages.append("src/ulysses_torch")
    checks = [
        ["ruff", "format", "--check", "--quiet", *FORMATTED],
        ["ruff", "check", "--quiet", *FORMATTED],
        ["mypy", *packages],
    ]
    commands = [[sys.executable, "-m", *check] for check in checks]
    commands.append([sys.executable, "scripts/generate_proto.py", "--check"])
    failed = [command for command in commands if subprocess.run(command, cwd=ROOT, check=False).returncode != 0]
    if failed:
        raise SystemExit("\n".join(["failed:", *(" ".join(command[1:]) for command in failed)]))


if __name__ == "__main__":
    main()
