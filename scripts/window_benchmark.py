"""Homework 2's 2D CNN: one window at a time against all at once, and `speechml denoise` on one core."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from side_by_side import Times, agree, interleave, ratio
from speechml.storage import audio


def run(quick: bool) -> None:
    """Print a table of both networks, then the real-time factors."""
    frames = 2459  # of homework 2's recording
    print(
        f"{frames} windows of 20 x 513 in batches of 128, float32, {torch.get_num_threads()} threads; "
        "medians of neighbouring ratios."
    )
    print(f"{'model':16}{'':10}{'per window':>12}{'at once':>10}{'ratio':>7}")
    for model in ("stft_cnn2d", "stft_cnn2d_mask"):
        for what, times in _window_times(model, frames, repeats=3 if quick else 9).items():
            one, all_ = (1e3 * statistics.median(times[name]) for name in ("per window", "at once"))
            print(f"{model:16}{what:10}{one:9.0f} ms{all_:7.0f} ms{ratio(times, 'per window', 'at once'):7.2f}")
    print()
    _real_time_factors(seconds=120 if quick else 600)


def _window_times(model: str, frames: int, repeats: int) -> dict[str, Times]:
    """Inference on, and gradients of, a whole recording, both ways."""
    from omegaconf import OmegaConf

    from speechml.models import STFTCNN2d

    node = _composed("model", model).net
    options = {k: v for k, v in OmegaConf.to_container(node).items() if k not in ("_target_", "bins")}  # type: ignore[union-attr]
    net = STFTCNN2d(**options)  # type: ignore[arg-type]
    batch, context = 128, net.frames - 1
    spectrogram = torch.rand(1, frames + context, net.bins)
    target = torch.rand(frames, net.bins)
    rows = spectrogram[0].unfold(0, net.frames, 1).transpose(1, 2)[:, None]

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
        agree({name: run() for name, run in steps.items()})
        net.train(mode)
        found[what] = interleave(steps, repeats, seconds=float("inf"))
    return found


def _composed(group: str, option: str) -> Any:
    from hydra import compose, initialize_config_dir

    from speechml.config.compose import conf_dir

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
