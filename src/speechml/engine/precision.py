"""Whether a processor computes in the precision that a run asks for, or slowly imitates it."""

from __future__ import annotations

import re
from pathlib import Path

import lightning.pytorch as pl

CPUINFO = Path("/proc/cpuinfo")  # Linux's; elsewhere nothing is known, and nothing is said
BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}  # as Linux calls such instructions, the last on Arm


def precision_notes(trainer: pl.Trainer) -> list[str]:
    """A sentence where a run computes in bfloat16 on a processor that has no instructions for it."""
    is_asked = str(trainer.precision).startswith("bf16")
    if not is_asked or trainer.strategy.root_device.type != "cpu" or not CPUINFO.exists():
        return []
    if has_bfloat16(CPUINFO.read_text(errors="replace")) is not False:
        return []
    return [
        f"note: trainer.precision={trainer.precision} is many times slower than float32 on this processor, which has no "
        "bfloat16 instructions; set trainer.precision=32-true"
    ]


def has_bfloat16(cpuinfo: str) -> bool | None:
    """Whether the processors that Linux describes have such instructions; None where it does not say what they have."""
    flags = [set(line.split()) for line in re.findall(r"^(?:flags|Features)\s*:(.*)$", cpuinfo, re.MULTILINE)]
    return all(BFLOAT16 & known for known in flags) if flags else None
