"""What a process does about memory before it computes on the CPU."""

from __future__ import annotations

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc


def keep_memory() -> None:
    """Let the allocator keep what large tensors have freed, instead of giving it back and taking it anew at every step.

    By glibc's defaults each tensor of more than a few MB is fresh pages from the system, which it must clear: half of a
    training step of lab 2B's network (55 ms instead of 105 ms on two cores). Without glibc nothing is done.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)


def exact_float32() -> None:
    """Make float32 mean float32 on GPUs too: cuDNN's convolutions round their inputs to 10 bits (TF32) by default."""
    import torch

    torch.backends.cudnn.allow_tf32 = False


def skip_filling() -> None:
    """Do not write a value into every new tensor in deterministic mode.

    That guards against reading memory that was never written, at half the speed again; nothing here does so, and the
    tests compare runs bit for bit.
    """
    import torch

    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
