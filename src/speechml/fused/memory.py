"""How many members a stack can have beside one another in the memory that is free."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from speechml.errors import echo
from speechml.fused.member import Member
from speechml.fused.network import padded

SHARE = 0.5  # of what is free, which others need as well
COPIES = 9  # of a network's numbers: weights, gradient, mask, states, and what a step makes of them
GROUP_FOLDERS = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/memory"))
LIMITS = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))  # of a container


def free_bytes() -> float:
    """Memory that this process may still take: of the machine, and of its container; `inf` where nobody says."""
    free = [math.inf]
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        free.append(1024 * float(next(line for line in lines if line.startswith("MemAvailable")).split()[1]))
    for folder, (most, used) in zip(GROUP_FOLDERS, LIMITS, strict=True):
        with suppress(OSError, ValueError):  # `max` is no limit
            free.append(float((folder / most).read_text()) - float((folder / used).read_text()))
    return min(free)


def member_bytes(member: Member) -> int:
    """About what a member takes of a stack, by the sizes of its network, its batches and its items."""
    size = padded(max(member.counts))
    units = sum(padded(width) for width in member.network.widths.values()) + padded(member.inputs.shape[1])
    numbers = (
        COPIES * member.network.size + 4 * size * units + 3 * len(member.order) + 2 * padded(len(member.validated))
    )
    return 4 * numbers + 4 * padded(len(member.validated)) * units


def split_by_memory(members: Sequence[Member]) -> list[list[Member]]:
    """Members of one kind in as few parts as fit into memory, one after another; more than one are told of."""
    room, needed = SHARE * free_bytes(), sum(map(member_bytes, members))
    count = min(len(members), max(1, math.ceil(needed / max(room, 1.0))))
    if count > 1:
        what = f"{len(members)} runs together would take {needed / 2**30:.1f} GB"
        echo(
            f"{what}, of {room / SHARE / 2**30:.1f} GB free: they are trained in {count} parts",
            file=sys.stderr,
            flush=True,
        )
    return [list(members[start::count]) for start in range(count)]
