"""speechml in Python and in notebooks: compose, train, find, look at and compare runs as the commands do."""

from __future__ import annotations

import csv
import fnmatch
import io
import os
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from speechml.config.compose import adapt_overrides, flatten, plain
from speechml.config.compose_app import compose_app
from speechml.errors import UserError, explain_missing_extras, machine_failure
from speechml.process import HOMES
from speechml.runs.card import RunCard
from speechml.runs.catalogue import STATES, require_card, runs_below, state_of
from speechml.runs.folder import PAGE
from speechml.runs.tables import check_choice
from speechml.storage.files import expand_home
from speechml.storage.plain_files import read_plain

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule

    from speechml.report.inline import Comparison
    from speechml.report.items import Prediction

Overrides = str | Iterable[str] | Mapping[str, object]  # as on the command line; or values by their keys
_training = threading.Lock()  # Hydra's config and the random numbers are the process's


class Interrupted(KeyboardInterrupt):
    """A training was stopped by hand, and has saved itself; the same call goes on with it."""

    def _render_traceback_(self) -> list[str]:  # what a notebook shows instead of a traceback
        return [str(self)]


@dataclass(frozen=True, repr=False)
class Run:
    """A run in its folder. What it says is read when it is asked for, so that a run in training is seen as it is.

    Raises:
        UserError: the folder is none of a run, or its card is damaged.
    """

    folder: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", Path(self.folder))
        self.card  # noqa: B018 (refused here where there is none)

    @property
    def card(self) -> RunCard:
        """What the run says of itself."""
        return require_card(self.folder)

    @property
    def state(self) -> str:
        """Done, stopped, failed, running or cut off."""
        return state_of(self.folder, self.card)

    @property
    def scores(self) -> dict[str, float | None]:
        """Its scores by name, as `test/snr_db`; None where one is not finite."""
        return dict(self.card.scores)

    @property
    def predictions(self) -> list[Prediction]:
        """What it made of each test item. Raises UserError where it was not tested."""
        from speechml.report.items import read_items

        return read_items(self.folder)

    @property
    def metrics(self) -> list[dict[str, float]]:
        """The losses and scores of each epoch, as metrics.csv has them; those of an epoch without validation lack `val/...`."""
        try:
            text = read_plain(self.folder, "metrics.csv").decode()
            rows = csv.DictReader(io.StringIO(text))
            return [{key: _number(value) for key, value in row.items() if value} for row in rows]
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise UserError(f"{self.folder / 'metrics.csv'} cannot be read", str(error)) from error

    @property
    def report(self) -> Path:
        """The page of the run, which is written where it is not there yet. Raises UserError where the run is not done."""
        from speechml.report.pages import write_report

        return self.folder / PAGE if (self.folder / PAGE).is_file() else write_report(self.folder)

    def load(self) -> LightningModule:
        """The trained network, in evaluation mode: `run.load()(noisy)` gives the denoised waveforms."""
        from speechml.inference.export import load_model

        return load_model(self.folder)

    def __repr__(self) -> str:
        card = self.card
        score = (
            f", {card.headline}={card.scores[card.headline]:.4g}"
            if card.headline and card.scores[card.headline]
            else ""
        )
        return f"<Run {self.folder}: {state_of(self.folder, card)}{score}>"

    def _repr_html_(self) -> str:
        from speechml.report.inline import run_html

        return run_html(self.folder, self.card, self.state)


def _number(text: str) -> float:
    return int(text) if text.lstrip("-").isdecimal() else float(text)


def compose(overrides: Overrides = ()) -> DictConfig:
    """The config of a run with some overrides, with its interpolations: `compose(["experiment=lab2a_fir"]).optimizer.lr`.

    Raises:
        UserError: an override that is not understood, a key that there is not, or several runs at once.
    """
    from hydra.core.hydra_config import HydraConfig

    words = _words(overrides)
    before = HydraConfig.instance().cfg
    try:
        with _explained():
            cfg = _composed(words)
            for key, value in flatten(plain(cfg)).items():  # what Hydra alone can tell, as the name of the experiment
                if isinstance(value, str) and "${hydra:" in value:
                    OmegaConf.update(cfg, key, OmegaConf.select(cfg, key))
            return cfg
    finally:
        HydraConfig.instance().cfg = before


def train(overrides: Overrides = ()) -> Run:
    """Train and test one run, unless that is done; resume it where it stopped. As `speechml-train`, bit for bit.

    What a training changes in its process (random numbers, threads, signals, logs) is put back afterwards.

    Args:
        overrides: as on the command line, `["experiment=lab2a_fir", "seed=1"]`; or values by their keys.

    Raises:
        UserError: an override that is not understood, unusable data, a run that is being trained, several runs at once.
        Interrupted: it was stopped by hand (Ctrl-C, the stop button), and has saved itself: the same call goes on.
    """
    words = _words(overrides)
    if not _training.acquire(blocking=False):
        raise UserError("this process is training a run already", fix="wait for it, or train in another process")
    try:
        with _explained():
            return _train(words)
    finally:
        _training.release()


def _train(words: list[str]) -> Run:
    from speechml.config.own_modules import forget_user_modules
    from speechml.engine.caller import unchanged_process
    from speechml.engine.signals import Stopped, early_signals
    from speechml.runs.identity import run_id
    from speechml.sweep.training import train_checked

    with unchanged_process():
        early_signals.clear()
        os.environ |= {name: str(expand_home(os.environ[name])) for name in HOMES if name in os.environ}
        forget_user_modules()
        sys.argv = ["speechml-train", *adapt_overrides(words)]  # the card has the command that does the same
        cfg = _composed(words)
        if cfg.get("find_lr"):
            fix = f"leave it out, or ask the command: speechml-train {' '.join(words)}"
            raise UserError("find_lr=true trains nothing, so there would be no run", fix=fix)
        try:
            train_checked(cfg)
        except Stopped as stopped:
            if stopped.signal_name != "SIGINT":  # the process is to end
                raise
            raise Interrupted(f"{stopped.reason}; the same call goes on with it") from None
        return Run(Path(str(cfg.paths.runs)) / str(cfg.name) / run_id(cfg))


def runs(
    experiment: str | None = None, *, state: str | None = None, tag: str | None = None, folder: str | Path | None = None
) -> list[Run]:
    """The runs of a folder, by experiment and then by when they began; those whose card is damaged are passed over.

    Args:
        experiment: its name, or a pattern of names as `words_*`; None: all.
        state: done, stopped, failed, running or cut off.
        tag: that the runs were given.
        folder: with runs at any depth; None: $SPEECHML_RUNS, or `runs`.

    Raises:
        UserError: no such folder or state.
    """
    check_choice("state", state or STATES[0], STATES)
    found = []
    for place in runs_below(expand_home(str(folder or os.environ.get("SPEECHML_RUNS") or "runs"))):
        try:
            run = Run(place)
            card = run.card
        except UserError:
            continue
        tags = card.to_json().get("tags") or ()
        if fnmatch.fnmatchcase(card.experiment, experiment or "*") and (tag is None or tag in tags):
            found.append((card.experiment, card.started, place, run))
    return [run for *_, run in sorted(found, key=lambda entry: entry[:3]) if state in (None, run.state)]


def compare(
    runs: Iterable[Run | str | Path], force: bool = False, baseline: Run | str | Path | None = None
) -> Comparison:
    """Compare finished runs, those of each test set with one of them; runs that differ by seed only are one setting.

    Args:
        runs: or their folders.
        force: compare scores of different test sets, as unpaired items.
        baseline: the run that others are compared with, its folder, its id or the beginning of that; None: the default of
            the experiment where it is among them, else the best by validation.

    Raises:
        UserError: fewer than two, one twice, no two that compare, or a baseline that is none of them.
    """
    from speechml.report.comparison_groups import compare_groups
    from speechml.report.inline import Comparison

    named = baseline.folder if isinstance(baseline, Run) else baseline
    folders = [run.folder if isinstance(run, Run) else Path(run) for run in runs]
    return Comparison(compare_groups(folders, force, named))


def _words(overrides: Overrides) -> list[str]:
    """Overrides as words of a command line."""
    if isinstance(overrides, Mapping):
        from speechml.config.hydra_compat import override_text

        return [f"{key}={override_text(value)}" for key, value in overrides.items()]
    words = [overrides] if isinstance(overrides, str) else list(overrides)
    for word in words:
        if not isinstance(word, str):
            raise UserError(f"{word!r} is no override", fix='write a text, as in ["seed=1"]')
    return words


def _composed(words: list[str]) -> DictConfig:
    """The config of one run; Hydra knows it until somebody else composes.

    Raises:
        UserError: several runs, or an option of the command.
    """
    from speechml.config.hydra_compat import find_sweep
    from speechml.config.refusals import translate_hydra_errors

    command = f"speechml-train -m {' '.join(word for word in words if word not in ('-m', '--multirun'))}"
    for word in words:
        if word in ("-m", "--multirun"):
            raise UserError(
                f"{word} describes several runs, and this is for one", fix=f"sweep by the command: {command}"
            )
        if word.startswith("-"):
            raise UserError(f"{word} is an option of the command speechml-train, no override", fix="leave it out")
    with translate_hydra_errors(words):
        if several := find_sweep(adapt_overrides(words)):
            fix = f"give one value, or sweep by the command: {command}"
            raise UserError(f"{several} describes several runs, and this is for one", fix=fix)
    return compose_app("train", [*words, "hydra.mode=RUN"])


@contextmanager
def _explained() -> Iterator[None]:
    """Inside, what the commands say in a sentence is raised as one. Raises UserError."""
    try:
        with explain_missing_extras():
            yield
    except UserError:
        raise
    except Exception as error:
        if failure := machine_failure(error):
            raise failure from error
        raise
