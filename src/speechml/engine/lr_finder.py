"""A learning-rate finder: the training loss while the rate rises from batch to batch (Smith, "Cyclical learning rates", 2017).

It trains a network of its own and puts the random generators back, so that nothing else notices.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from speechml.config.instantiate import build
from speechml.contracts import Config
from speechml.engine.parts import Parts
from speechml.errors import UserError
from speechml.storage.files import make_folder, write_text

LOWEST, HIGHEST = 1e-6, 10.0  # rates, one after the other on a logarithmic scale
STEPS = 100
MEMORY = 0.9  # of the exponential average that smooths the losses
SLOPE = 10  # batches over which the fall of the loss is judged
DIVERGED = 4.0  # times the best smoothed loss: then it is enough


class RateCurve(NamedTuple):
    """Rates, losses and smoothed losses, one of each a batch; and the rate to paste."""

    rates: list[float]
    losses: list[float]
    smoothed: list[float]
    suggestion: float


def find_rate(config: Config, task: Any, data: Any, steps: int = STEPS) -> RateCurve:
    """Try rising learning rates on a network as a run of `config` would begin with.

    The suggestion is the rate at which the smoothed loss falls fastest: larger ones learn as well until the loss rises,
    but without a margin.

    Raises:
        UserError: the loss is not finite from the beginning, or the optimiser takes no rate.
    """
    if config["optimizer"]["_target_"].endswith(".LBFGS"):
        raise UserError("LBFGS searches its own steps, so a finder of learning rates says nothing of it")
    with random_state_kept():
        torch.manual_seed(config["seed"])
        task.prepare(data)
        where = device_of(str(config["trainer"]["accelerator"]))
        task = task.to(where).train()
        optimizer = build({**config["optimizer"], "lr": LOWEST}, task.parameters(), where="optimizer")
        precision, largest = str(config["trainer"]["precision"]), config["trainer"]["gradient_clip_val"]
        half = torch.bfloat16 if "bf16" in precision else torch.float16
        rates: list[float] = []
        losses: list[float] = []
        smoothed: list[float] = []
        average = 0.0
        for step, batch in enumerate(itertools.islice(_endless(data, where), steps)):
            rate = LOWEST * (HIGHEST / LOWEST) ** (step / (steps - 1))
            for group in optimizer.param_groups:
                group["lr"] = rate
            with torch.autocast(where.type, half, enabled="16" in precision):
                loss, _ = task.training_loss(batch)
            optimizer.zero_grad()
            loss.backward()
            if largest is not None:
                torch.nn.utils.clip_grad_norm_(task.parameters(), largest)
            optimizer.step()
            value = float(loss.detach())
            average = MEMORY * average + (1 - MEMORY) * value
            smooth = average / (1 - MEMORY ** (step + 1))
            if not math.isfinite(smooth) or (smoothed and smooth > DIVERGED * min(smoothed)):
                break
            rates.append(rate)
            losses.append(value)
            smoothed.append(smooth)
    if len(rates) < 3:
        raise UserError("the loss is not finite even at the smallest learning rates; look at the data and the loss")
    return RateCurve(rates, losses, smoothed, rates[steepest_fall(smoothed)])


def device_of(accelerator: str) -> torch.device:
    """The first device of the kind that a trainer's `accelerator` names."""
    if accelerator in ("gpu", "cuda", "auto") and torch.cuda.is_available():
        return torch.device("cuda")
    if accelerator in ("gpu", "mps", "auto") and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def steepest_fall(smoothed: list[float]) -> int:
    """Where the smoothed loss falls fastest before its least value, over SLOPE batches about each."""
    least = max(1, int(np.argmin(smoothed)))
    falls = [smoothed[max(0, i - SLOPE // 2)] - smoothed[min(least, i + SLOPE // 2)] for i in range(least + 1)]
    return int(np.argmax(falls))


@contextlib.contextmanager
def random_state_kept() -> Iterator[None]:
    """Put the states of Python's, NumPy's and torch's random generators back as they were."""
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


def _endless(data: Any, where: torch.device) -> Iterator[Any]:
    """Training batches on a device, epoch after epoch."""
    for epoch in itertools.count():
        for batch in data.train_dataloader():
            yield data.load_batch(batch._replace(epoch=epoch, indices=batch.indices.to(where)))


def report_rates(parts: Parts, folder: Path) -> None:
    """Find the rate, write curve and figure into `folder`, and print the override to paste."""
    parts.data.trainer = None  # one process has whole batches
    found = find_rate(parts.config, parts.task, parts.data)
    make_folder(folder)
    rows = zip(found.rates, found.losses, found.smoothed, strict=True)
    text = "".join(f"{rate:.6g},{loss:.6g},{smooth:.6g}\n" for rate, loss, smooth in rows)
    write_text(folder / "lr_finder.csv", "lr,loss,smoothed\n" + text)
    draw_rates(found).savefig(folder / "lr_finder.png", dpi=110)
    print(f"Losses of {len(found.rates)} batches with rising learning rates: {folder / 'lr_finder.png'} and .csv")
    print(
        "Nothing was trained. The smoothed loss falls fastest at the rate below; up to somewhat before the loss is least,"
    )
    print("larger ones may learn faster. Look at the figure, then train with")
    print(f"  optimizer.lr={found.suggestion:.1g}")


def draw_rates(found: RateCurve) -> Any:
    """Losses and smoothed losses against the learning rate, the suggestion marked."""
    from speechml.report.drawing import make_axes

    figure, (axis,) = make_axes()
    axis.plot(found.rates, found.losses, color="0.75", linewidth=0.8, label="loss of a batch")
    axis.plot(found.rates, found.smoothed, label="smoothed")
    axis.axvline(found.suggestion, color="tab:orange", linestyle="--", label=f"optimizer.lr={found.suggestion:.1g}")
    low, high = min(found.smoothed), max(found.smoothed[: max(1, len(found.smoothed) // 2)])
    axis.set_ylim(low - 0.2 * (high - low) - 1e-12, high + 0.5 * (high - low) + 1e-12)
    axis.set_xscale("log")
    axis.set(xlabel="learning rate", ylabel="training loss", title="learning-rate finder")
    axis.legend()
    return figure
