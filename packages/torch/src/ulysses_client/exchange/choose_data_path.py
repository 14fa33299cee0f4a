"""Which data path a connection uses: the native one where it is installed, unless the caller says otherwise."""

from __future__ import annotations

import os

from ..errors import UnsupportedError, field_error
from ..wire.connection import ConnectionOptions
from .data_path import DATA_PATHS, DataPath, DataPathName, RouteChoice
from .grpcio_path import GrpcioPath

DATA_PATH_VARIABLE = "ULYSSES_DATA_PATH"


def open_data_path(
    asked: DataPathName | None, owner: int, party: str, route: RouteChoice, connections: ConnectionOptions
) -> DataPath:
    """`asked`, else what ULYSSES_DATA_PATH says, else native where it can be. Raises UNSUPPORTED for what cannot."""
    field = DATA_PATH_VARIABLE if asked is None else "data_path"
    name = os.environ.get(DATA_PATH_VARIABLE) or None if asked is None else asked
    if name not in (None, *DATA_PATHS):
        raise field_error(UnsupportedError, field, name, f"one of {', '.join(DATA_PATHS)}")
    if name == "grpcio":
        return GrpcioPath(owner, party, route, connections)
    try:
        from .native_path import NativePath
    except ImportError as error:
        if name is None:
            return GrpcioPath(owner, party, route, connections)
        expected = f"grpcio, or the package ulysses_native ({error})"
        raise field_error(UnsupportedError, field, name, expected) from error
    return NativePath(owner, party, route, connections)
