"""Peer: PyTorch's gloo all-to-all between processes of one host, uneven slices, the own slice copied too.

Usage: gloo_all_to_all.py PROCESSES MIB

Reads one number of repeats per line from stdin and answers each with one JSON line: per variant (`all_to_all_single`
and `isend/irecv`) the milliseconds of every repeat, and the CPU seconds of all processes together. The first line says
`ready`.
"""

import json
import os
import resource
import socket
import sys
import time
from collections.abc import Callable

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def slice_elements(source: int, destination: int, processes: int, mib: int) -> int:
    """float32 elements of one slice; `bench/all-to-all-slices.ts` has the same formula."""

    def weight(s: int, d: int) -> int:
        return 3 + (s * 7 + d * 5) % 3

    total = sum(weight(source, d) for d in range(processes))
    return ((mib << 20) // 4) * weight(source, destination) // total


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def variants(rank: int, processes: int, mib: int) -> dict[str, Callable[[], None]]:
    ins = [slice_elements(rank, d, processes, mib) for d in range(processes)]
    outs = [slice_elements(s, rank, processes, mib) for s in range(processes)]
    sent = torch.full((sum(ins),), float(rank))
    received = torch.zeros(sum(outs))
    in_at = [sum(ins[:i]) for i in range(processes + 1)]
    out_at = [sum(outs[:i]) for i in range(processes + 1)]

    def all_to_all_single() -> None:
        dist.all_to_all_single(received, sent, outs, ins)

    def pairs() -> None:
        works = []
        for k in range(1, processes):
            to, source = (rank + k) % processes, (rank - k) % processes
            works.append(dist.irecv(received[out_at[source] : out_at[source + 1]], source))
            works.append(dist.isend(sent[in_at[to] : in_at[to + 1]], to))
        received[out_at[rank] : out_at[rank + 1]].copy_(sent[in_at[rank] : in_at[rank + 1]])
        for work in works:
            work.wait()

    return {"all_to_all_single": all_to_all_single, "isend/irecv": pairs}


def member(rank: int, processes: int, mib: int, port: int, commands: int) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=processes)
    runs = variants(rank, processes, mib)
    repeats = torch.zeros(1, dtype=torch.int64)
    lines = os.fdopen(commands) if rank == 0 else None
    if rank == 0:
        print("ready", flush=True)  # noqa: T201
    while True:
        if lines is not None:
            repeats[0] = int(lines.readline() or 0)
        dist.broadcast(repeats, 0)
        if repeats.item() == 0:
            break
        answer = {}
        for name, run in runs.items():
            before, times = cpu_seconds(), []
            for _ in range(int(repeats.item())):
                dist.barrier()
                began = time.perf_counter()
                run()
                dist.barrier()
                times.append((time.perf_counter() - began) * 1e3)
            cpu = torch.tensor([cpu_seconds() - before])
            dist.all_reduce(cpu)
            answer[name] = {"ms": times, "cpuSeconds": cpu.item()}
        if rank == 0:
            print(json.dumps(answer), flush=True)  # noqa: T201
    dist.destroy_process_group()


if __name__ == "__main__":
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free_port = probe.getsockname()[1]
    # Forked, because a spawned process has no stdin; the copy outlives multiprocessing's closing of it.
    count, size = int(sys.argv[1]), int(sys.argv[2])
    arguments = (count, size, free_port, os.dup(0))
    mp.start_processes(member, arguments, nprocs=count, start_method="fork")
