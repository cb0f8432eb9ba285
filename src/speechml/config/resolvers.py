"""Functions that configs may call, known to OmegaConf once this module is imported."""

from __future__ import annotations

import hashlib
import re
import sys

from omegaconf import OmegaConf

NOT_OF_THE_SWEEP = (
    "hydra.sweeper.n_trials=", "hydra.sweeper.n_jobs=", "hydra.sweeper.max_retries=", "hydra.sweeper.figures=",
    "hydra.sweeper.retrain=", "hydra/launcher=", "hydra.launcher.", "hydra.sweep.", "redo=",
)  # fmt: skip


def samples(sample_rate: int, seconds: float) -> int:
    """`${samples:RATE,SECONDS}`: a duration in samples."""
    return round(sample_rate * seconds)


def bins(n_fft: int) -> int:
    """`${bins:N_FFT}`: bins of a spectrum."""
    return n_fft // 2 + 1


def sweep_folder(chosen: str) -> str:
    """`${sweep_folder:EXPERIMENT}`: `<experiment>/<sweep>` of a multirun, named by its command: a repeated one is the same.

    So is one that asks for more trials, or for other helpers: what these words set is not part of the name.
    """
    given = [word for word in sys.argv[1:] if word.startswith("experiment=")]
    words = sorted(
        word
        for word in [*sys.argv[1:], *([] if given else [f"experiment={chosen}"])]
        if not word.lstrip("+~").startswith(("-", *NOT_OF_THE_SWEEP))
    )
    named = given[0].removeprefix("experiment=") if given else chosen
    experiment = re.sub(r"[^\w.-]+", "_", named)
    return f"{experiment}/{hashlib.sha256(chr(10).join(words).encode()).hexdigest()[:10]}"


def register() -> None:
    """Make the resolvers known; the sweep's is cached, because its jobs must see the value that the sweep has."""
    OmegaConf.register_new_resolver("samples", samples, replace=True)
    OmegaConf.register_new_resolver("bins", bins, replace=True)
    OmegaConf.register_new_resolver("sweep_folder", sweep_folder, use_cache=True, replace=True)


register()
