"""Randomness without a state: every draw is a function of a key and an index, on any device, in any order.

torch's generators give draws in sequence only: a clip's would depend on its place in the batch, and on the rank.
"""

import hashlib

import torch
from torch import Tensor

# splitmix64: increment (2^64 over the golden ratio) and multipliers of Steele, Lea and Flood, "Fast splittable
# pseudorandom number generators" (OOPSLA 2014), as signed 64-bit numbers.
_INCREMENT = -0x61C8864680B583EB
_MIX = ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15))


def key(*where: int | str) -> int:
    """A 63-bit number that depends on every part of `where`, and only on it."""
    digest = hashlib.blake2b(repr(where).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def uniform(key: int | Tensor, index: Tensor, draws: int) -> Tensor:
    """Numbers in [0, 1), of which row i depends on `key` and `index[i]` alone; of several keys, (keys, 1, 1), each its own.

    Shape: index (items,) int64 -> (items, draws) float32, or (keys, items, draws).
    """
    counter = index.long()[:, None] * draws + torch.arange(draws, device=index.device)
    z = counter * _INCREMENT + key
    for shift, factor in _MIX:
        z = (z ^ ((z >> shift) & ((1 << (64 - shift)) - 1))) * factor
    z = z ^ ((z >> 31) & ((1 << 33) - 1))
    return ((z >> 40) & 0xFFFFFF).float() / 2**24  # 24 bits: what float32 holds exactly


def permutation(key: int, count: int) -> Tensor:
    """The numbers 0 ... count - 1 in an order that depends on `key` alone. Shape: (count,) int64."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(key))


def device_generator(device: torch.device) -> torch.Generator:
    """The generator that dropout on a device draws from."""
    if device.type == "cuda":
        return torch.cuda.default_generators[torch.cuda.current_device() if device.index is None else device.index]
    return torch.default_generator
