"""Computations timed beside one another in one process, whose results agree."""

import statistics
import time
from collections.abc import Callable, Mapping

from torch import Tensor

Times = dict[str, list[float]]  # seconds of each run, by what was computed


def agree(results: Mapping[str, tuple[Tensor, ...]]) -> None:
    """End the program where results differ by more than rounding."""
    (first, reference), *others = results.items()
    for name, values in others:
        for a, b in zip(reference, values, strict=True):
            difference = float((a - b).abs().max() / a.abs().max())
            if not difference < 1e-4:  # float32 sums of up to a million terms, in different orders
                raise SystemExit(f"{name} differs from {first} by {difference:.1e} of the largest value.")


def interleave(steps: Mapping[str, Callable[[], object]], repeats: int, seconds: float) -> Times:
    """Run the steps in turn, so that whatever else the machine does falls on all of them; at least three rounds."""
    times: Times = {name: [] for name in steps}
    start = time.perf_counter()
    for done in range(repeats):
        if done >= 3 and time.perf_counter() - start > seconds:
            break
        for name in list(steps) if done % 2 else reversed(list(steps)):
            before = time.perf_counter()
            steps[name]()
            times[name].append(time.perf_counter() - before)
    return times


def ratio(times: Times, numerator: str, denominator: str) -> float:
    """The median of the ratios of neighbouring runs, which a change of the machine's load leaves alone."""
    return statistics.median(a / b for a, b in zip(times[numerator], times[denominator], strict=True))
