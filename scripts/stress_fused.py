"""Runs that are trained together, in random companies and killed in between, must end as each does alone, bit for bit."""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
import time
from pathlib import Path

from stress_resume import differences, make_features

BASE = [
    "experiment=genre_mlp",
    "data.root=features.npz",
    "report=false",
    "checkpoint.every_n_steps=5",
    "logger.csv=true",
]
# What runs may differ in; those of one line in all others.
KINDS: tuple[list[str], ...] = (
    [], ["optimizer=adamw", "++optimizer.weight_decay=0.1"], ["optimizer=sgd", "++optimizer.momentum=0.9", "optimizer.lr=0.05"],
    ["optimizer=sgd", "optimizer.lr=0.1", "++optimizer.nesterov=true", "++optimizer.momentum=0.8"], ["scheduler=cosine"],
    ["scheduler=one_cycle", "++scheduler.max_lr=0.02"], ["scheduler=step", "++scheduler.step_size=2"],
    ["++model.net.dropout=0.3"], ["++model.label_smoothing=0.1"], ["++trainer.gradient_clip_val=0.5"],
    ["++optimizer.betas=[0.8, 0.99]"], ["scheduler=plateau"], ["data.split_seed=3"],
)  # fmt: skip


def draw_run(draws: random.Random) -> list[str]:
    """The overrides of a run."""
    layers, activation = draws.randint(1, 5), draws.choice(["tanh", "relu", "bump"])
    return [
        *BASE, f"seed={draws.randrange(100)}", f"trainer.max_epochs={draws.randint(2, 8)}",
        f"model.net.layers={layers}", f"model.net.units={draws.choice([3, 8, 16, 20, 33])}",
        f"model.net.activation={activation}", f"data.batch_size={draws.choice([16, 16, 16, 7])}",
        *draws.choice(KINDS), *([f"optimizer.lr={10 ** draws.uniform(-4, -1.5):.6f}"] if draws.random() < 0.5 else []),
    ]  # fmt: skip


def compute_together(runs: list[list[str]], place: Path, folder: str) -> None:
    """Compute runs in this process, as `hydra/launcher=fused` does, into a folder of runs."""
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.types import RunMode

    from speechml.config.compose import conf_dir
    from speechml.engine.signals import interruptible
    from speechml.sweep.fused import Fused
    from speechml.sweep.sweep_command import SweepCommand

    os.chdir(place)
    with initialize_config_dir(conf_dir(), version_base="1.3"), interruptible():
        loader = GlobalHydra.instance().config_loader()
        words = ["hydra/launcher=fused", f"paths.runs={folder}", "paths.cache=cache"]
        config = loader.load_configuration("train", words, run_mode=RunMode.MULTIRUN)
        composer = SweepCommand(config, loader, []).composer
        launcher = Fused(len(runs), figures=False)
        launcher.submit([composer.job([*run, *words[1:]], number, str(number)) for number, run in enumerate(runs)])
        for job, outcome in launcher.outcomes():
            if outcome.error:
                print(f"{job.folder}: {outcome.error}", flush=True)


def fork(runs: list[list[str]], place: Path, folder: str, killed_after_s: float | None = None, word: int = 0) -> bool:
    """`compute_together` in a process of its own, which may be killed; whether it came to its end."""
    child = os.fork()
    if not child:
        with (place / "log.txt").open("a") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        try:
            compute_together(runs, place, folder)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", flush=True)
            os._exit(1)
        os._exit(0)
    if killed_after_s is not None:
        time.sleep(killed_after_s)
        os.kill(child, word)
    return os.waitpid(child, 0)[1] == 0


def fused(groupings: int, seed: int = 0, runs: int = 12) -> int:
    """Train each of some runs alone, then all in random companies; how many ended otherwise.

    Args:
        groupings: how many companies, of which every second is killed once and goes on in another one.
        runs: how many there are.
    """
    draws, wrong, killed = random.Random(seed), 0, 0
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        make_features(place / "features.npz")
        import speechml.engine.train  # noqa: F401 (loaded once, for all that are forked)

        everyone: dict[Path, list[str]] = {}
        while len(everyone) < runs:
            words = draw_run(draws)
            before = set(place.glob("alone/*/*/"))
            if not fork([words], place, "alone"):
                print((place / "log.txt").read_text())
                return 1
            everyone |= dict.fromkeys(set(place.glob("alone/*/*/")) - before, words)
        began = time.monotonic()
        for number in range(groupings):
            company = draws.sample(sorted(everyone), draws.randint(2, min(runs, 8)))
            folder = f"company{number}"
            if number % 2:
                some = draws.sample(company, draws.randint(1, len(company)))
                word = draws.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
                killed += not fork([everyone[path] for path in some], place, folder, draws.uniform(0.2, 3.0), word)
            if not fork([everyone[path] for path in company], place, folder):
                print((place / "log.txt").read_text()[-3000:])
                wrong += 1
            for path in company:
                if found := differences(path, place / folder / path.relative_to(place / "alone")):
                    wrong += 1
                    print(f"grouping {number}: {' '.join(everyone[path])}: {'; '.join(found)}", flush=True)
            shutil.rmtree(place / folder)
            if number % 20 == 19:
                print(
                    f"{number + 1} groupings, {killed} killed, {wrong} wrong, {time.monotonic() - began:.0f} s",
                    flush=True,
                )
    print(
        f"{groupings} groupings of {runs} runs, {killed} of them killed and gone on with: {wrong} runs ended otherwise"
    )
    return wrong
