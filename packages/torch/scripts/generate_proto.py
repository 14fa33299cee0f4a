"""Writes src/ulysses_client/generated from proto/ulysses/v1; with --check, fails when what is committed differs."""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

PROTO = Path(__file__).parents[3] / "proto"
GENERATED = Path(__file__).parents[1] / "src/ulysses_client/generated"
PACKAGE = "ulysses_client.generated"
SOURCES = ("tensor", "plan", "coordinator", "tensor_plane")


def generate(folder: Path) -> dict[str, str]:
    """File contents by name."""
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    arguments = ["protoc", f"-I{PROTO}", f"-I{well_known}", f"--python_out={folder}", f"--pyi_out={folder}"]
    if protoc.main([*arguments, *(f"ulysses/v1/{name}.proto" for name in SOURCES)]) != 0:
        raise SystemExit("protoc failed")
    # Imports of the proto package `ulysses.v1` become imports of the Python package that the files lie in.
    files = {
        path.name: re.sub(r"^from ulysses\.v1 import", f"from {PACKAGE} import", path.read_text(), flags=re.M)
        for path in sorted((folder / "ulysses/v1").iterdir())
    }
    return {"__init__.py": "", **files}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        expected = generate(Path(folder))
    committed = {path.name: path.read_text() for path in GENERATED.glob("*.py*") if path.is_file()}
    if "--check" in sys.argv:
        drifted = sorted(name for name in {*expected, *committed} if expected.get(name) != committed.get(name))
        if drifted:
            raise SystemExit(f"out of date: {', '.join(drifted)}; run packages/torch/scripts/generate_proto.py")
        return
    GENERATED.mkdir(exist_ok=True)
    for name in committed:
        (GENERATED / name).unlink()
    for name, text in expected.items():
        (GENERATED / name).write_text(text)


if __name__ == "__main__":
    main()
