"""Unaligned Ulysses context parallelism for PyTorch trainers.

cluster = ulysses_torch.connect("127.0.0.1:7100", job="demo")
attention = UlyssesContextAttention(None, cluster, gather_size_calculator=DynamicGatherSizeCalculator(), causal=True)
out = attention(q, k, v)
cluster.close()
"""

from ulysses_client.cluster import Cluster, UlyssesWarning, connect
from ulysses_client.errors import (
    CancelledError,
    ConfigError,
    DeadlineError,
    ForbiddenError,
    HandleGoneError,
    InvariantError,
    LeaseLostError,
    OverloadedError,
    PeerLostError,
    PlanInvalidError,
    ShapeMismatchError,
    StaleEpochError,
    StepMismatchError,
    UlyssesError,
    UnauthenticatedError,
    UnsupportedError,
)
from ulysses_client.plan import DefaultGatherSizeCalculator, DynamicGatherSizeCalculator, GatherSizeCalculator
from ulysses_client.wire.tls import TlsFiles

from .arguments import add_arguments
from .attention import UlyssesContextAttention
from .pending_attention import PendingAttention
from .tensor_exchange import Exchanged, ExchangeReport, exchange
from .transformers import register_transformers

__all__ = [
    "CancelledError",
    "Cluster",
    "ConfigError",
    "DeadlineError",
    "DefaultGatherSizeCalculator",
    "DynamicGatherSizeCalculator",
    "ExchangeReport",
    "Exchanged",
    "ForbiddenError",
    "GatherSizeCalculator",
    "HandleGoneError",
    "InvariantError",
    "LeaseLostError",
    "OverloadedError",
    "PeerLostError",
    "PendingAttention",
    "PlanInvalidError",
    "ShapeMismatchError",
    "StaleEpochError",
    "StepMismatchError",
    "TlsFiles",
    "UlyssesContextAttention",
    "UlyssesError",
    "UlyssesWarning",
    "UnauthenticatedError",
    "UnsupportedError",
    "add_arguments",
    "connect",
    "exchange",
    "register_transformers",
]
