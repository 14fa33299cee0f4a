"""Peer: PyTorch's scaled_dot_product_attention and its autograd backward, in one thread.

Reads one JSON line per request from stdin and answers each with one JSON line; the first line says `ready VERSION`. All
requests have `dtype`, `s`, `d`, `heads` and `kv_heads`.

- `time`, with `pass`, `causal` and `runs`: seconds of CPU time per run.
- `make`, with `folder`: writes random q, k, v and dout, [heads, s, d] in the dtype, as files of these names.
- `compare`: reads the caller's causal out and dq in the dtype, dk and dv in float32 from the folder; answers with the
  errors of these and of PyTorch's own results, relative to what float64 says.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}
INPUTS = ("q", "k", "v", "dout")
RESULTS = ("out", "dq", "dk", "dv")


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool) -> torch.Tensor:
    return functional.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=q.shape[1] != k.shape[1])


def time_runs(request: dict[str, Any]) -> list[float]:
    dtype, s, d = DTYPES[request["dtype"]], request["s"], request["d"]
    heads, kv_heads = request["heads"], request["kv_heads"]
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, h, s, d).to(dtype).requires_grad_() for h in (heads, kv_heads, kv_heads))
    dout = torch.randn(1, heads, s, d).to(dtype)
    seconds = []
    for _ in range(request["runs"]):
        if request["pass"] == "forward":
            with torch.no_grad():
                began = time.process_time()
                attention(q, k, v, request["causal"])
        else:
            q.grad = k.grad = v.grad = None
            out = attention(q, k, v, request["causal"])
            began = time.process_time()
            out.backward(dout)
        seconds.append(time.process_time() - began)
    return seconds


def exact(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool) -> torch.Tensor:
    """The textbook's formula, in the dtype of its arguments."""
    group = q.shape[1] // k.shape[1]
    k, v = (x.repeat_interleave(group, 1) for x in (k, v))
    scores = q @ k.mT / q.shape[-1] ** 0.5
    if causal:
        scores = scores.masked_fill(torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1), float("-inf"))
    return scores.softmax(-1) @ v


def heads_of(request: dict[str, Any]) -> dict[str, int]:
    heads, kv_heads = request["heads"], request["kv_heads"]
    return {name: kv_heads if name in ("k", "v", "dk", "dv") else heads for name in (*INPUTS, *RESULTS)}


def make(request: dict[str, Any]) -> None:
    torch.manual_seed(1)
    for name in INPUTS:
        values = torch.randn(heads_of(request)[name], request["s"], request["d"]).to(DTYPES[request["dtype"]])
        (Path(request["folder"]) / name).write_bytes(values.view(torch.uint8).numpy().tobytes())


def compare(request: dict[str, Any]) -> dict[str, dict[str, float]]:
    dtype = DTYPES[request["dtype"]]

    def read(name: str) -> torch.Tensor:
        raw = bytearray((Path(request["folder"]) / name).read_bytes())
        values = torch.frombuffer(raw, dtype=torch.float32 if name in ("dk", "dv") else dtype)
        return values.view(1, heads_of(request)[name], request["s"], request["d"])

    inputs = {name: read(name) for name in INPUTS}

    def run(of: Any, of_dtype: torch.dtype) -> list[torch.Tensor]:
        q, k, v = (inputs[name].to(of_dtype).requires_grad_() for name in ("q", "k", "v"))
        out = of(q, k, v, True)
        out.backward(inputs["dout"].to(of_dtype))
        return [out.detach(), *(x.grad for x in (q, k, v))]

    def error(x: torch.Tensor, reference: torch.Tensor) -> float:
        return float((x.double() - reference).norm() / reference.norm())

    results = zip(RESULTS, run(exact, torch.float64), run(attention, dtype), strict=True)
    return {name: {"ours": error(read(name), ref), "torch": error(x, ref)} for name, ref, x in results}


ANSWERS: dict[str, Callable[[dict[str, Any]], Any]] = {"time": time_runs, "make": make, "compare": compare}

if __name__ == "__main__":
    torch.set_num_threads(1)
    print(f"ready {torch.__version__}", flush=True)  # noqa: T201
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(ANSWERS[asked["do"]](asked)), flush=True)  # noqa: T201
