"""Time the library's computations against the ones they replace, side by side in one process."""

from typing import Annotated

import torch
import typer

from speechml.process import keep_memory

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
    import convolution_benchmark

    convolution_benchmark.run(quick)


@app.command()
def windows(
    quick: Annotated[bool, typer.Option(help="Fewer repeats and a shorter recording: half a minute.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of the processor to use.")] = 2,
) -> None:
    """Homework 2's 2D CNN: one window at a time against all at once, and `speechml denoise` on one core."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    keep_memory()
    import window_benchmark

    window_benchmark.run(quick, threads)


@app.command()
def words(
    quick: Annotated[bool, typer.Option(help="Fewer clips and rounds: a minute.")] = False,
    threads: Annotated[int, typer.Option(help="Threads of the processor to use.")] = 2,
) -> None:
    """Spoken words: clips delivered and trained on, against a Dataset of single clips with a DataLoader; packing."""
    import word_benchmark

    word_benchmark.run(quick, threads)


@app.command()
def reports(quick: Annotated[bool, typer.Option(help="A short run, each command once.")] = False) -> None:
    """Comparisons and pages: `speechml compare` of two runs, `speechml report` of a run and of a sweep of 50."""
    import report_benchmark

    report_benchmark.run(quick)


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


if __name__ == "__main__":
    app()
