"""Runs made before the code was rebuilt (tests/fixtures/runs/README.md says how) are still runs, in every respect."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import command, read_card, speechml, succeed

KEPT = Path(__file__).parent / "fixtures" / "runs"
FIR, MIMO, STFT, WORDS, GENRE = (
    "lab2a_fir/2e419249ef", "lab2b_mimo_cnn/1fb82e8f46", "hw2_cnn1d/7e085b3972", "words_tuned/11d1767edd",
    "genre_mlp/21a799c9ef",
)  # fmt: skip
STOPPED, KILLED = "genre_mlp/62f5f7dfad", "genre_mlp/29efa54018"
GRID, SEARCH = "runs/.sweeps/genre_mlp/dcf0093943", "runs/.sweeps/genre_mlp/75772a3a5c"
THEN = {  # before experiments were brought to the letter of the labs
    "experiment/genre_mlp.yaml": """# @package _global_
defaults:
  - override /data: genre_features
  - override /model: mlp
  - override /optimizer: adam
  - override /scheduler: one_cycle
  - override /callbacks: genre
threads: 1
model:
  columns: null
  log: [low_high_ratio]
optimizer:
  lr: 0.01
data:
  batch_size: 32
trainer:
  max_epochs: 30
""",
    "callbacks/genre.yaml": """progress:
  _target_: speechml.callbacks.Progress
figures:
  _target_: speechml.callbacks.GenreFigures
early_stopping:
  _target_: speechml.callbacks.EarlyStopping
  monitor: val/loss
  patience: 2
  after: 0.9
""",
}
DONE = [FIR, MIMO, STFT, WORDS, GENRE]
RESUMED: dict[str, Any] = json.loads((KEPT / "resumed.json").read_text())


@pytest.fixture
def old(workplace: Path) -> Path:
    """A copy of the kept runs in the working folder, which a sweep's list of its runs then names."""
    shutil.copytree(KEPT, workplace, dirs_exist_ok=True)
    sweep = workplace / GRID / "sweep.json"
    sweep.write_text(sweep.read_text().replace("/tmp/lab/", f"{workplace}/"))
    return workplace / "runs"


@pytest.fixture
def as_then(old: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The kept runs beside a config folder in which genre_mlp is what it was then: commands mean what they meant."""
    for path, text in THEN.items():
        (old.parent / "then" / path).parent.mkdir(parents=True, exist_ok=True)
        (old.parent / "then" / path).write_text(text)
    monkeypatch.setenv("SPEECHML_CONF", str(old.parent / "then"))
    return old


def weights_then(name: str, which: str) -> dict[str, torch.Tensor]:
    """The weights, last or best, that the old code reached when it went on."""
    start = f"{name[-10:]}/{which}/"
    with np.load(KEPT / "resumed.npz") as kept:
        return {key.removeprefix(start): torch.from_numpy(kept[key]) for key in kept if key.startswith(start)}


def launched_again(run: Path) -> str:
    """What the command in a run's card prints now."""
    done = succeed(*shlex.split(read_card(run)["command"]))
    return done.stdout


def test_they_are_listed_shown_and_verified(old: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    assert speechml(monkeypatch, "runs", "list", "--format", "json") == 0
    states = {run["id"]: run["state"] for run in json.loads(capsys.readouterr().out)}
    assert set(states) == {card.parent.name for card in old.glob("[!.]*/*/card.json")}
    assert [states[name[-10:]] for name in (*DONE, STOPPED, KILLED)] == [*["done"] * 5, "stopped", "cut off"]
    for name in (*DONE, STOPPED, KILLED):
        assert speechml(monkeypatch, "runs", "show", str(old / name)) == 0
        assert read_card(old / name)["command"] in capsys.readouterr().out
    assert speechml(monkeypatch, "runs", "verify", *(str(old / name) for name in DONE)) == 0
    assert "5 runs: 5 ok" in capsys.readouterr().out
    weights = old / GENRE / "checkpoints" / "best.ckpt"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    assert speechml(monkeypatch, "runs", "verify", str(old / GENRE)) == 1


@pytest.mark.parametrize(("name", "step"), [(STOPPED, 13), (KILLED, 15)])
def test_they_resume_to_the_weights_that_the_old_code_reached(name: str, step: int, as_then: Path) -> None:
    said = launched_again(as_then / name)
    card = read_card(as_then / name)
    assert f"after step {step}" in said
    assert card["state"] == "done"
    same_machine = card["hardware"]["processor"] == RESUMED["processor"]  # another one may round otherwise
    for which in ("last", "best"):
        weights = torch.load(as_then / name / "checkpoints" / f"{which}.ckpt", weights_only=True)["state_dict"]
        reached = weights_then(name, which)
        assert weights.keys() == reached.keys()
        for key, weight in weights.items():
            assert torch.allclose(weight, reached[key], rtol=1e-4, atol=1e-5)
            assert torch.equal(weight, reached[key]) or not same_machine
    then = RESUMED["runs"][name[-10:]]
    assert card["epochs"] == then["epochs"]
    assert card["scores"] == pytest.approx(then["scores"], rel=1e-9 if same_machine else 1e-3)
    rows = (as_then / name / "metrics.csv").read_text().splitlines()
    assert len(rows) == len(set(rows)) >= 1 + 5


@pytest.mark.parametrize("name", [GENRE])
def test_a_finished_one_is_done_already(name: str, as_then: Path) -> None:
    before = {
        path: path.read_bytes() for path in (as_then / name).rglob("*") if path.is_file() and path.name != ".lock"
    }
    assert "done already" in launched_again(as_then / name)
    assert {path: path.read_bytes() for path in before} == before
    assert sorted(path.name for path in as_then.glob("[!.]*/*")) == sorted(
        path.name for path in KEPT.glob("runs/[!.]*/*")
    )


def test_they_compare(old: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    seeds = [str(old / "genre_mlp" / name) for name in ("2a9e21e917", "82162c89d5")]
    assert speechml(monkeypatch, "compare", *seeds, str(old / GENRE)) == 0
    said = capsys.readouterr().out
    assert "cfb18cd69ae35128" in said
    assert "0.7577" in said  # the mean accuracy of two seeds
    assert speechml(monkeypatch, "compare", str(old / FIR), str(old / MIMO)) == 0
    assert "-23.13" in capsys.readouterr().out


@pytest.mark.parametrize("place", [f"runs/{FIR}", f"runs/{STFT}", f"runs/{WORDS}", f"runs/{GENRE}", GRID, SEARCH])
def test_they_are_reported(place: str, old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert speechml(monkeypatch, "report", place) == 0
    page = (old.parent / place / "report.html").read_text()
    assert Path(place).name in page


@pytest.mark.parametrize("name", [FIR, WORDS])
def test_they_are_evaluated_on_the_embedded_recordings_of_now(name: str, old: Path) -> None:
    """The samples of then depended on numpy's version, and are made no more; the scores are about those of then."""
    said = succeed("speechml-evaluate", f"run=runs/{name}", "threads=1").stdout
    assert "This is not the test set of the run" in said
    (written,) = (old / name / "evaluations").glob("*.json")
    scores, then = json.loads(written.read_text())["scores"], read_card(old / name)["scores"]
    score, margin = ("test/snr_db", 3.0) if name == FIR else ("test/acc", 0.35)
    assert scores[score] == pytest.approx(then[score], abs=margin)


def test_they_are_evaluated_again_to_the_same_scores(old: Path) -> None:
    succeed("speechml-evaluate", f"run=runs/{GENRE}", "threads=1", "data=genre_features", "data.root=features.npz")
    (written,) = (old / GENRE / "evaluations").glob("*.json")
    scores, then = json.loads(written.read_text())["scores"], read_card(old / GENRE)["scores"]
    assert {key: scores[key] for key in then if key.startswith("test/")} == pytest.approx(
        {key: value for key, value in then.items() if key.startswith("test/")}, rel=1e-5
    )


SHAPES = {FIR: (2, 1, 4000), MIMO: (2, 1, 4000), STFT: (2, 1, 4000), WORDS: (2, 1, 16000), GENRE: (2, 12)}


@pytest.mark.parametrize("name", DONE)
def test_they_load_and_are_exported(name: str, old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import speechml as package

    data = torch.rand(SHAPES[name])
    model = package.load(old / name)
    assert speechml(monkeypatch, "export", str(old / name), "exported") == 0
    with torch.no_grad():
        output = model(data)
        assert output.isfinite().all()
        assert torch.equal(package.load("exported")(data), output)


def test_the_sweep_is_done(as_then: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    assert speechml(monkeypatch, "sweep", "status", GRID) == 0
    assert "2 runs: 2 done" in capsys.readouterr().out
    cards = {path: path.read_bytes() for path in as_then.glob("genre_mlp/*/card.json")}
    succeed(*shlex.split(json.loads((as_then.parent / GRID / "sweep.json").read_text())["command"]))
    assert {path: path.read_bytes() for path in as_then.glob("genre_mlp/*/card.json")} == cards
    assert sorted(as_then.glob(".sweeps/genre_mlp/*")) == sorted(as_then.parent / place for place in (GRID, SEARCH))


def test_a_search_whose_experiment_has_changed_is_not_gone_on_with(old: Path) -> None:
    """Its trials are other runs than new ones would be: the fourth would be compared with what it is not comparable to."""
    search = json.loads((old.parent / SEARCH / "sweep.json").read_text())
    words = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=4", "hydra.sweeper.figures=false"]
    ended = command("speechml-train", "-m", *words, *search["fixed"], "optimizer.lr=tag(log, interval(0.001, 0.1))")
    assert ended.returncode == 2
    assert "the settings of genre_mlp have changed since" in ended.stderr
    assert json.loads((old.parent / SEARCH / "sweep.json").read_text()) == search


def test_the_search_goes_on(as_then: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    assert speechml(monkeypatch, "sweep", "status", SEARCH) == 0
    assert "3 done" in capsys.readouterr().out
    search = json.loads((as_then.parent / SEARCH / "sweep.json").read_text())
    words = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=4", "hydra.sweeper.figures=false"]
    succeed("speechml-train", "-m", *words, *search["fixed"], "optimizer.lr=tag(log, interval(0.001, 0.1))")
    trials = json.loads((as_then.parent / SEARCH / "sweep.json").read_text())["trials"]
    assert trials[:3] == search["trials"]
    fourth = RESUMED["trial"]
    assert [Path(run).name for run in trials[3]["runs"]] == [Path(run).name for run in fourth["runs"]]
    assert (trials[3]["params"], trials[3]["value"]) == (fourth["params"], pytest.approx(fourth["value"], rel=1e-4))
