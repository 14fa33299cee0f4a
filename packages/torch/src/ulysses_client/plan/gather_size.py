"""How long the gathered sequence is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from ..errors import ShapeMismatchError, UlyssesError, field_error
from .split_sizes import is_integer


class GatherSizeCalculator(ABC):
    """Says how many rows the gather dimension has after the all-to-all; None means aligned. One of one's own:

        class FromKwargs(GatherSizeCalculator):
            def calculate(self, *args, **kwargs):
                return kwargs.get("gather_size")

    `args` are q, k and v as the module was called with; `kwargs` are the call's own, untouched, and beside them
    `tensor` (`"q"` or `"kv"`: asked once when s_q = s_kv), `shard_rows`, `attention_mask_lengths`,
    `attention_mask_extent` and `layout`, unless the call has a keyword of that name. A result below the shards' sum
    means that the tail rows are padding and are not exchanged: their outputs and gradients are zero.
    """

    @abstractmethod
    def calculate(self, *args: object, **kwargs: object) -> int | None: ...


class DefaultGatherSizeCalculator(GatherSizeCalculator):
    """Aligned: every shard has the same rows and heads divide by cp_size; anything else is refused."""

    def calculate(self, *args: object, **kwargs: object) -> int | None:
        return None


class DynamicGatherSizeCalculator(GatherSizeCalculator):
    """The sequence length of the current batch's attention mask.

    The mask's last dimension if there is a mask tensor; the sum (packed layout) or the maximum (padded layouts) of the
    lengths if there are lengths; else every row there is.
    """

    def calculate(self, *args: object, **kwargs: object) -> int | None:
        extent = kwargs.get("attention_mask_extent")
        if isinstance(extent, int):
            return extent
        lengths = kwargs.get("attention_mask_lengths")
        if isinstance(lengths, Sequence):
            return sum(lengths) if kwargs.get("layout") == "thd" else max(lengths, default=0)
        rows = kwargs.get("shard_rows")
        return sum(rows) if isinstance(rows, Sequence) else None


def custom_gather_size(
    calculator: GatherSizeCalculator, args: Sequence[object], kwargs: Mapping[str, object], known: Mapping[str, object]
) -> int | None:
    """Asks a calculator of the caller's own. What it says is checked against all shards by the coordinator.

    Raises SHAPE_MISMATCH naming the calculator and what it did, also when it raises.
    """
    name = type(calculator).__name__
    more = {"calculator": name, "tensor": str(known["tensor"])}
    try:
        size = calculator.calculate(*args, **{**known, **kwargs})
    except UlyssesError:
        raise
    except Exception as error:
        expected = "a gather size or None"
        raise field_error(ShapeMismatchError, f"gather size of {name}", f"{error}", expected, **more) from error
    if size is None or (is_integer(size) and size >= 1):
        return size
    expected = "None or an integer of at least 1"
    raise field_error(ShapeMismatchError, f"gather size of {name}", size, expected, **more)
