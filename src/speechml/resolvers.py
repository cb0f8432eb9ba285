"""Functions that configs may call, known to OmegaConf once this module is imported."""

from __future__ import annotations

import hashlib
import re
import sys

from omegaconf import OmegaConf


def samples(sample_rate: int, seconds: float) -> int:
    """`${samples:RATE,SECONDS}`: a duration in samples."""
    return round(sample_rate * seconds)


def bins(n_fft: int) -> int:
    """`${bins:N_FFT}`: bins of a spectrum."""
    return n_fft // 2 + 1


def sweep_folder() -> str:
    """`${sweep_folder:}`: `<experiment>/<sweep>` of a multirun, named by its command, so that a repeated sweep is the same."""
    words = sorted(word for word in sys.argv[1:] if not word.startswith("-"))
    named = [word.removeprefix("experiment=") for word in words if word.startswith("experiment=")]
    experiment = re.sub(r"[^\w.-]+", "_", named[0]) if named else "default"
    return f"{experiment}/{hashlib.sha256(chr(10).join(words).encode()).hexdigest()[:10]}"


def register() -> None:
    """Make the resolvers known; the sweep's is cached, because its jobs must see the value that the sweep has."""
    OmegaConf.register_new_resolver("samples", samples, replace=True)
    OmegaConf.register_new_resolver("bins", bins, replace=True)
    OmegaConf.register_new_resolver("sweep_folder", sweep_folder, use_cache=True, replace=True)


register()
