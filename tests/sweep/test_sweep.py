"""Searches from the command line: whole, cut off, continued, with failures, pruned, by several workers."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import command, make_features, succeed

SHORT = (
    "experiment=genre_mlp", "report=false", "data.root=x.npz", "trainer.max_epochs=2", "objective=val/acc",
    "hydra/sweeper=optuna", "hydra.sweeper.sampler=random",
)  # fmt: skip
LR = "optimizer.lr=tag(log, interval(0.001, 0.1))"


@pytest.fixture
def search(workplace: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    make_features(workplace / "x.npz")
    return lambda *words, **options: command("speechml-train", "-m", *SHORT, *words, **options)


def record(workplace: Path) -> dict[str, Any]:
    """What sweep.json says of the one search there is."""
    (path,) = workplace.glob("runs/.sweeps/*/*/sweep.json")
    return dict(json.loads(path.read_text()))


def cards(workplace: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in workplace.glob("runs/genre_mlp/*/card.json")]


def draws(found: dict[str, Any]) -> list[tuple[int, Any, Any]]:
    return [(trial["number"], trial["params"], trial["value"]) for trial in found["trials"]]


@pytest.mark.slow
def test_a_search_leaves_runs_a_record_a_table_and_figures(search: Callable[..., Any], workplace: Path) -> None:
    words = (LR, "model.net.layers=1,2", "hydra.sweeper.n_trials=3", "hydra.sweeper.executions_per_trial=2",
             "hydra.sweeper.retrain=['data.batch_size=16']", "data.batch_size=32")  # fmt: skip
    done = search(*words)
    assert done.returncode == 0, done.stderr
    assert "a run with the best values will follow (data.batch_size=16)" in done.stderr
    found = record(workplace)
    assert found["state"] == "done"
    assert [trial["state"] for trial in found["trials"]] == ["done"] * 3
    for trial in found["trials"]:
        scores = [json.loads((Path(run) / "card.json").read_text()) for run in trial["runs"]]
        assert [card["seed"] for card in scores] == [0, 1]
        assert trial["value"] == pytest.approx(sum(card["scores"]["val/acc"] for card in scores) / 2)
        assert not (Path(trial["runs"][0]) / "figures").exists()
    best = max(found["trials"], key=lambda trial: trial["value"])
    assert found["best"]["value"] == best["value"]
    assert done.stdout.splitlines()[3].split()[0] == str(found["best"]["number"])  # first in the table
    assert (Path(found["retrained"]["run"]) / "figures").exists()
    (folder,) = workplace.glob("runs/.sweeps/genre_mlp/*")
    assert {path.name for path in (folder / "figures").iterdir()} == {"history.png", "importance.png", "parallel.png"}
    # The line that repeats the best names the run that there is.
    again = command("speechml-train", *found["best"]["overrides"])
    assert "This run is done already" in again.stdout
    assert found["best"]["runs"][0] in again.stdout
    _hparams_are_side_by_side(workplace, found)
    # The same command again computes nothing; one that asks for more goes on.
    before = len(cards(workplace))
    search(*words)
    assert len(cards(workplace)) == before
    search(*words[:2], "hydra.sweeper.n_trials=4", *words[3:])
    assert draws(record(workplace))[:3] == draws(found)
    assert len(record(workplace)["trials"]) == 4


def _hparams_are_side_by_side(workplace: Path, found: dict[str, Any]) -> None:
    """What TensorBoard's HPARAMS tab reads: the swept values, and the final scores."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata

    begun = metadata.SESSION_START_INFO_TAG
    for trial in found["trials"]:
        for run in trial["runs"]:
            scores = json.loads((workplace / run / "card.json").read_text())["scores"]
            files = [EventAccumulator(str(path)).Reload() for path in (workplace / run).glob("events*")]
            (told,) = [file.SummaryMetadata(begun) for file in files if begun in file.Tags()["tensors"]]
            settings = metadata.parse_session_start_info_plugin_data(told.plugin_data.content).hparams
            assert settings["optimizer.lr"].number_value == pytest.approx(trial["params"]["optimizer.lr"])
            for name in ("test/acc", "val/acc"):
                shown = [file.Scalars(f"~hp/{name}") for file in files if f"~hp/{name}" in file.Tags()["scalars"]]
                assert scores[name] in [pytest.approx(event.value) for events in shown for event in events]


@pytest.mark.slow
def test_a_search_killed_at_random_moments_ends_as_one_that_was_not(
    search: Callable[..., Any], workplace: Path
) -> None:
    words = (LR, "hydra.sweeper.n_trials=5")
    program = str(Path(sys.executable).with_name("speechml-train"))
    chance = random.Random(0)
    for jobs in (1, 2, 1):
        killed = subprocess.Popen(
            [program, "-m", *SHORT, *words, f"hydra.sweeper.n_jobs={jobs}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(chance.uniform(3, 7))
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
    done = search(*words, "hydra.sweeper.n_jobs=2")
    assert done.returncode == 0, done.stderr
    found = record(workplace)
    assert [trial["state"] for trial in found["trials"]] == ["done"] * 5
    runs = [run for trial in found["trials"] for run in trial["runs"]]
    assert len(set(runs)) == len(cards(workplace)) == 5
    assert {card["state"] for card in cards(workplace)} == {"done"}
    (workplace / "runs").rename(workplace / "runs_killed")
    search(*words)
    assert draws(record(workplace)) == draws(found)


def test_runs_that_promise_little_are_pruned(search: Callable[..., Any], workplace: Path) -> None:
    done = search(
        "optimizer.lr=0.01,0.02,1e-9", "hydra.sweeper.sampler=grid", "hydra.sweeper.pruner=median", "trainer.max_epochs=4",
        "hydra.sweeper.pruner_options={n_startup_trials: 2, n_warmup_steps: 2}", "hydra.sweeper.n_trials=3",
        "hydra.sweeper.n_jobs=1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    trials = record(workplace)["trials"]
    assert [trial["state"] for trial in trials] == ["done", "done", "pruned"]
    assert trials[2]["pruned_at_epoch"] == 2
    (card,) = [card for card in cards(workplace) if card["state"] != "done"]
    assert card["state"] == "stopped"
    assert card["pruned"] == "after epoch 2, by val/acc"
    assert not any(name.startswith("test/") for name in card["scores"])


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["optimizer.lrr=interval(0.1,1)"], 1, "there is no key optimizer.lrr; did you mean optimizer.lr?"),
        (
            [LR, "+hydra.sweeper.n_trails=3"],
            2,
            "there is no key hydra.sweeper.n_trails; did you mean hydra.sweeper.n_trials?",
        ),
        ([LR, "hydra.sweeper.sampler=tpee"], 2, "did you mean tpe?"),
        ([LR, "hydra.sweeper.sampler=grid"], 2, "a grid has no end on an interval of optimizer.lr"),
        ([LR, "hydra.sweeper.pruner=mediann"], 2, "did you mean median?"),
        ([LR, "objective=test/acc"], 2, "choices are made on the validation split"),
        (["seed=range(3)", "hydra.sweeper.executions_per_trial=2"], 2, "seed is searched"),
        ([LR, "hydra.sweeper.retrain=true"], 2, "hydra.sweeper.retrain is true; it must be a list of words"),
        ([LR, "hydra.sweeper.retrain=['optimizer.lrr=1']"], 1, "there is no key optimizer.lrr"),
        ([LR, "hydra.sweeper.sampler=null"], 2, "hydra.sweeper.sampler is null; it must be text"),
    ],
)
def test_a_search_that_cannot_be_is_refused_in_one_sentence_and_leaves_nothing(
    words: list[str], code: int, says: str, search: Callable[..., Any], workplace: Path
) -> None:
    done = search(*words)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (workplace / "runs").exists()


def test_a_space_without_a_search_is_refused(workplace: Path) -> None:
    make_features(workplace / "x.npz")
    done = command("speechml-train", "experiment=genre_mlp", "report=false", "data.root=x.npz", "hparams_search=genre")
    assert done.returncode == 2
    assert "hparams_search=genre describes many runs; add -m" in done.stderr


@pytest.mark.slow
def test_an_interrupt_is_one_sentence_and_the_search_goes_on_with_the_same_command(
    workplace: Path,
) -> None:
    make_features(workplace / "x.npz")
    words = (LR, "hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=2", "trainer.max_epochs=200")
    program = str(Path(sys.executable).with_name("speechml-train"))
    begun = subprocess.Popen(
        [program, "-m", *SHORT, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
        # Tests in the background of a shell are started with interrupts ignored, which is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    until = time.monotonic() + 60
    while not list(workplace.glob("runs/genre_mlp/*/checkpoints/last.ckpt")) and time.monotonic() < until:
        time.sleep(0.1)
    os.killpg(begun.pid, signal.SIGINT)  # as a terminal does
    said = begun.communicate(timeout=60)[1]
    assert begun.returncode == 75
    assert "the same command goes on with the search in runs/.sweeps/genre_mlp/" in said
    assert "Traceback" not in said
    assert record(workplace)["state"] == "stopped"


def test_what_a_search_file_sets_besides_stands_in_the_command_that_repeats_the_best(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_features(workplace / "x.npz")
    (workplace / "mine" / "hparams_search").mkdir(parents=True)
    (workplace / "mine" / "hparams_search" / "own.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /hydra/sweeper: optuna\ntrainer:\n  max_epochs: 3\nmodel:\n"
        "  columns: [rms_db, crest_db]\n  log: null\nhydra:\n  sweeper:\n    n_trials: 1\n    params:\n      seed: range(3)\n"
    )
    monkeypatch.setenv("SPEECHML_CONF", "mine")
    succeed("speechml-train", "-m", "experiment=genre_mlp", "report=false", "data.root=x.npz", "hparams_search=own")
    best = record(workplace)["best"]
    assert not any("hparams_search" in word for word in best["overrides"])
    again = command("speechml-train", *best["overrides"])
    assert "This run is done already" in again.stdout
    assert best["runs"][0] in again.stdout
