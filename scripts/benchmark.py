"""Time the library's computations against the ones they replace, side by side in one process."""

import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
import typer
from torch import Tensor

from speechml.data import audio
from speechml.process import keep_memory
from speechml.signal.convolution import algorithm, causal_convolution

Convolution = Callable[[Tensor, Tensor], Tensor]
Times = dict[str, list[float]]

LARGEST = 4_000_000_000  # multiply-adds of one pass: beyond it conv1d alone takes seconds

app = typer.Typer(add_completion=False, help=__doc__)


@app.command()
def convolution(
    quick: Annotated[bool, typer.Option(help="Fewer repeats and shapes: under half a minute.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of the processor to use.")] = 2,
) -> None:
    """Causal convolution, forward and backward: lab 2B's network step, then a table of shapes."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    keep_memory()  # as every run of speechml does; all contenders gain by it
    _network(repeats=3 if quick else 9)
    print()
    _table(quick)


@app.command()
def windows(
    quick: Annotated[bool, typer.Option(help="Fewer repeats and a shorter recording: half a minute.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of the processor to use.")] = 2,
) -> None:
    """Homework 2's 2D CNN: one window at a time against all at once, and `speechml denoise` on one core."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    keep_memory()
    frames = 2459  # of homework 2's recording
    print(
        f"{frames} windows of 20 x 513 in batches of 128, float32, {threads} threads; medians of neighbouring ratios."
    )
    print(f"{'model':16}{'':10}{'per window':>12}{'at once':>10}{'ratio':>7}")
    for model in ("stft_cnn2d", "stft_cnn2d_mask"):
        for what, times in _window_times(model, frames, repeats=3 if quick else 9).items():
            one, all_ = (1e3 * statistics.median(times[name]) for name in ("per window", "at once"))
            print(f"{model:16}{what:10}{one:9.0f} ms{all_:7.0f} ms{_ratio(times, 'per window', 'at once'):7.2f}")
    print()
    _real_time_factors(seconds=120 if quick else 600)


@app.command()
def words(
    quick: Annotated[bool, typer.Option(help="Fewer clips and rounds: a minute.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of the processor to use.")] = 2,
) -> None:
    """Spoken words: clips delivered and trained on, against a Dataset of single clips with a DataLoader; packing."""
    import word_benchmark

    word_benchmark.run(quick, threads)


@app.command()
def saving(quick: Annotated[bool, typer.Option(help="One small run.")] = False) -> None:
    """Checkpoints: the share of a training that goes into writing them."""
    import saving_benchmark

    saving_benchmark.run(quick)


@app.command()
def sweeps(quick: Annotated[bool, typer.Option(help="Once, with few epochs and cards.")] = False) -> None:
    """Sweeps: runs side by side, the time outside training, plans."""
    from sweep_benchmark import sweeps

    sweeps(quick)


@app.command()
def features(quick: Annotated[bool, typer.Option(help="Less music: 20 s.")] = False) -> None:
    """Music: hand-made features against the exercise's loop over blocks, on one core."""
    import feature_benchmark

    feature_benchmark.run(quick)


def _window_times(model: str, frames: int, repeats: int) -> dict[str, Times]:
    """Inference on, and gradients of, a whole recording, both ways."""
    from omegaconf import OmegaConf

    from speechml.models import STFTCNN2d
    from speechml.signal.stft import windows as views

    node = _composed("model", model).net
    options = {k: v for k, v in OmegaConf.to_container(node).items() if k not in ("_target_", "bins")}  # type: ignore[union-attr]
    net = STFTCNN2d(**options)  # type: ignore[arg-type]
    batch, context = 128, net.frames - 1
    spectrogram = torch.rand(1, frames + context, net.bins)
    target = torch.rand(frames, net.bins)
    rows = views(spectrogram, net.frames)[0][:, None]

    @torch.no_grad()
    def infer(at_once: bool) -> tuple[Tensor, ...]:
        return (net.all_windows(spectrogram)[0] if at_once else torch.cat([net(w) for w in rows.split(batch)]),)

    def train(at_once: bool) -> tuple[Tensor, ...]:
        net.zero_grad()
        for i in range(0, frames, batch):
            goal = target[i : i + batch]
            run = spectrogram[:, i : i + len(goal) + context]
            F.mse_loss(net.all_windows(run)[0] if at_once else net(rows[i : i + batch]), goal).backward()
        return tuple(p.grad.clone() for p in net.parameters() if p.grad is not None)

    found = {}
    for what, step, mode in (("inference", infer, False), ("training", train, True)):
        net.eval()  # no dropout: both ways compute the same
        steps = {"per window": lambda step=step: step(False), "at once": lambda step=step: step(True)}
        _agree({name: run() for name, run in steps.items()})
        net.train(mode)
        found[what] = _interleave(steps, repeats, seconds=float("inf"))
    return found


def _composed(group: str, option: str) -> Any:
    from hydra import compose, initialize_config_dir

    import speechml.resolvers  # noqa: F401
    from speechml.configs import conf_dir

    with initialize_config_dir(conf_dir(), version_base="1.3"):
        return compose("train", overrides=[f"{group}={option}", "+n_fft=1024"])[group]


def _real_time_factors(seconds: int) -> None:
    """Seconds of computing a second of sound: the whole command, and what each further second costs."""
    programs = Path(sys.executable).parent
    core = {min(os.sched_getaffinity(0))}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    print("speechml denoise on one core, 16 kHz:")
    for experiment in ("hw2_cnn1d_tuned", "hw2_cnn2d_tuned"):
        with tempfile.TemporaryDirectory() as folder:
            short = ["trainer.max_epochs=1", "test=false"]
            train = [str(programs / "speechml-train"), f"experiment={experiment}", *short]
            subprocess.run(train, cwd=folder, check=True, capture_output=True)
            (run,) = Path(folder, "runs", experiment).iterdir()
            taken = {}
            for length in (10, seconds):
                recording = Path(folder, f"{length}.wav")
                audio.save(recording, 0.1 * np.random.default_rng(0).standard_normal(16000 * length), 16000)
                command = [str(programs / "speechml"), "denoise", str(run), str(recording), "-o", f"{folder}/out"]
                begin = time.perf_counter()
                subprocess.run(
                    command, check=True, capture_output=True, env=environment, preexec_fn=lambda: os.sched_setaffinity(0, core)
                )  # fmt: skip
                taken[length] = time.perf_counter() - begin
            further = (taken[seconds] - taken[10]) / (seconds - 10)
            print(f"  {experiment:16} {taken[seconds]:.1f} s for {seconds} s: {taken[seconds] / seconds:.4f}; "
                  f"start {taken[10] - 10 * further:.1f} s, each further second {further:.4f}")  # fmt: skip


def _network(repeats: int) -> None:
    """y = h2 * tanh(h1 * x) with an L1 loss, gradients for h1 and h2: 32 records of 32000 samples, features 1, 5, 1."""
    batch, length, taps, features = 32, 32_000, 40, 5
    x, target = torch.randn(2, batch, 1, length).unbind()
    h1 = (0.1 * torch.randn(taps, features, 1)).requires_grad_()
    h2 = (0.1 * torch.randn(taps, 1, features)).requires_grad_()

    def step(convolve: Convolution) -> tuple[Tensor, ...]:
        loss = (convolve(torch.tanh(convolve(x, h1)), h2) - target).abs().mean()
        return (loss.detach(), *torch.autograd.grad(loss, (h1, h2)))

    convolutions: dict[str, Convolution] = {
        "loop of delays": _delays,
        "conv1d": _conv1d,
        "causal_convolution": causal_convolution,
    }
    steps = {name: (lambda convolve=convolve: step(convolve)) for name, convolve in convolutions.items()}
    _agree({name: run() for name, run in steps.items()})
    times = _interleave(steps, repeats, seconds=float("inf"))
    # Forward, both layers; backward, both filters' gradients and the second layer's input's.
    operations = 2 * 5 * batch * length * taps * features
    rate = _matrix_product_rate()
    print(
        f"Lab 2B's network step, {batch} records of {length} samples, features 1, {features}, 1, {taps} taps, float32,"
    )
    print(f"{torch.get_num_threads()} threads; medians of {repeats}; matrix products run at {rate / 1e9:.0f} GFLOP/s.")
    print(f"{'':20}{'time':>10}{'loop/time':>11}{'conv1d/time':>13}{'of peak':>9}")
    for name, taken in times.items():
        median = statistics.median(taken)
        print(
            f"{name:20}{1e3 * median:7.1f} ms{_ratio(times, 'loop of delays', name):11.1f}"
            f"{_ratio(times, 'conv1d', name):13.2f}{operations / median / rate:9.0%}"
        )


def _table(quick: bool) -> None:
    taps = (3, 40, 255) if quick else (3, 9, 21, 40, 81, 127, 255)
    features = ((1, 1), (1, 5), (5, 1), (4, 4), (16, 16))
    lengths = (1_000, 32_000) if quick else (1_000, 8_000, 32_000, 64_000)
    batches = (1, 4) if quick else (1, 16)
    largest = LARGEST // 10 if quick else LARGEST
    shapes = list(itertools.product(features, batches, lengths, taps))
    print("Forward and backward, gradients for x and h; ratio below 1 is faster than conv1d.")
    print(f"{'in':>3}{'out':>4}{'batch':>6}{'length':>7}{'taps':>5}  {'algorithm':10}{'time':>11}{'ratio':>7}")
    worst, skipped = (0.0, ""), 0
    for number, ((inputs, outputs), batch, length, k) in enumerate(shapes, 1):
        if batch * length * k * inputs * outputs > largest:
            skipped += 1
            continue
        _progress(f"{number}/{len(shapes)}")
        times = _shape_times(batch, k, inputs, outputs, length, seconds=0.1 if quick else 0.4)
        ratio = _ratio(times, "causal_convolution", "conv1d")
        shape = f"{inputs:3}{outputs:4}{batch:6}{length:7}{k:5}"
        name = algorithm(batch, k, inputs, outputs, length, "cpu")
        milliseconds = 1e3 * statistics.median(times["causal_convolution"])
        print(f"{shape}  {name:10}{milliseconds:8.2f} ms{ratio:7.2f}", flush=True)
        worst = max(worst, (ratio, f"{shape}  {name}"))
    print(f"{skipped} shapes beyond {largest:.0e} multiply-adds left out. Worst ratio {worst[0]:.2f}: {worst[1]}")


def _shape_times(batch: int, taps: int, inputs: int, outputs: int, length: int, seconds: float) -> Times:
    x = torch.randn(batch, inputs, length, requires_grad=True)
    h = torch.randn(taps, outputs, inputs, requires_grad=True)
    dy = torch.randn(batch, outputs, length)

    def step(convolve: Convolution) -> tuple[Tensor, ...]:
        y = convolve(x, h)
        return (y.detach(), *torch.autograd.grad(y, (x, h), dy))

    steps = {"conv1d": lambda: step(_conv1d), "causal_convolution": lambda: step(causal_convolution)}
    _agree({name: run() for name, run in steps.items()})
    return _interleave(steps, repeats=300, seconds=seconds)


def _delays(x: Tensor, h: Tensor) -> Tensor:
    """The definition, one tap at a time: add the filtered record, then delay the record by a sample."""
    y = torch.zeros(x.shape[0], h.shape[1], x.shape[2])
    for tap in h:
        y = y + tap @ x
        x = F.pad(x[..., :-1], (1, 0))
    return y


def _conv1d(x: Tensor, h: Tensor) -> Tensor:
    return F.conv1d(F.pad(x, (h.shape[0] - 1, 0)), h.permute(1, 2, 0).flip(-1))


def _agree(results: Mapping[str, tuple[Tensor, ...]]) -> None:
    (first, reference), *others = results.items()
    for name, values in others:
        for a, b in zip(reference, values, strict=True):
            difference = float((a - b).abs().max() / a.abs().max())
            if not difference < 1e-4:  # float32 sums of up to a million terms, in different orders
                raise SystemExit(f"{name} differs from {first} by {difference:.1e} of the largest value.")


def _interleave(steps: Mapping[str, Callable[[], object]], repeats: int, seconds: float) -> Times:
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


def _ratio(times: Times, numerator: str, denominator: str) -> float:
    """The median of the ratios of neighbouring runs, which a change of the machine's load leaves alone."""
    return statistics.median(a / b for a, b in zip(times[numerator], times[denominator], strict=True))


def _matrix_product_rate() -> float:
    """Floating-point operations a second of a large float32 matrix product, the best of a few."""
    size = 1024
    a, b = torch.randn(2, size, size).unbind()
    times = _interleave({"product": lambda: a @ b}, repeats=12, seconds=5)["product"]
    return 2 * size**3 / min(times)


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{text}\r", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    app()
