"""`speechml runs verify`: what is whole is ok, and every damage is found and named."""

from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import edit_card, read_card, run_of, speechml, write_card
from speechml.engine.checkpoint import write_checkpoint
from speechml.inference.verify import verify_run
from speechml.runs.catalogue import runs_below
from speechml.runs.folder import checksums


def test_runs_that_are_whole_are_ok(runs: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    for run in runs_below(runs):
        edit_card(run, files=checksums(run))
        assert verify_run(run).problems == []
    assert speechml(monkeypatch, "runs", "verify", str(runs), str(run_of(runs))) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "2 runs: 2 ok, 0 with problems"


def flip(path: Path, place: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("place", [0.0, 0.3, 0.6, 0.999])
def test_a_flipped_bit_of_a_checkpoint_is_found_without_a_checksum_in_the_card(place: float, runs: Path) -> None:
    flip(run_of(runs) / "checkpoints" / "best.ckpt", place)
    (problem,) = verify_run(run_of(runs)).problems
    assert "best.ckpt" in problem


@pytest.mark.parametrize("name", ["config.yaml", "metrics.csv", "predictions.npz", "checkpoints/last.ckpt"])
def test_any_file_that_has_changed_or_is_missing_is_named(name: str, runs: Path) -> None:
    run = run_of(runs)
    edit_card(run, files=checksums(run))
    with (run / name).open("ab") as file:
        file.write(b"\n")
    assert f"{name} has changed" in verify_run(run).problems
    (run / name).unlink()
    assert f"{name} is missing" in verify_run(run).problems


def rewritten(path: Path, edit) -> None:
    content = torch.load(path, weights_only=True)
    edit(content)
    write_checkpoint(content, path)


def test_weights_that_are_nan_are_found(runs: Path) -> None:
    path = run_of(runs) / "checkpoints" / "best.ckpt"
    rewritten(path, lambda content: content["state_dict"]["net.taps"].fill_(float("nan")))
    (problem,) = verify_run(run_of(runs)).problems
    assert problem.startswith(f"{path} holds weights that are NaN or infinite (net.taps)")


def test_a_checkpoint_of_another_run_is_found(runs: Path) -> None:
    path = run_of(runs) / "checkpoints" / "best.ckpt"
    other = run_of(runs, "genre_mlp") / "checkpoints" / "best.ckpt"
    path.write_bytes(other.read_bytes())
    assert verify_run(run_of(runs)).problems == [f"{path} is of another run: its model is not that of the card"]


def test_a_checkpoint_whose_weights_do_not_fit_its_config_is_found(runs: Path) -> None:
    path = run_of(runs) / "checkpoints" / "last.ckpt"
    rewritten(path, lambda content: content["speechml"]["config"]["model"]["net"].update(taps=9))
    assert "weight net.taps has shape" in verify_run(run_of(runs)).problems[0]


@pytest.mark.parametrize(("experiment", "column"), [("lab2a_fir", "snr_db"), ("genre_mlp", "logits")])
def test_predictions_that_do_not_give_the_scores_are_found(experiment: str, column: str, runs: Path) -> None:
    run = run_of(runs, experiment)
    with np.load(run / "predictions.npz") as file:
        columns = dict(file)
    columns[column].flat[0] += 0.001  # of logits that of one class only
    np.savez(run / "predictions.npz", **columns)
    (problem,) = verify_run(run).problems
    assert problem.startswith("predictions.npz gives test/")
    np.savez(run / "predictions.npz", **{k: v if k == "classes" else v[1:] for k, v in columns.items()})
    rows = len(columns["name"])
    assert f"predictions.npz has {rows - 1} rows and {rows} were scored" in verify_run(run).problems


def test_a_score_that_was_written_into_the_card_is_found(runs: Path) -> None:
    run = run_of(runs, "genre_mlp")
    scores = read_card(run)["scores"]
    edit_card(run, scores={**scores, "test/acc": scores["test/acc"] + 0.01})
    assert "test/acc" in verify_run(run).problems[0]
    edit_card(run, scores={**scores, "test/auc": 1.0})
    assert verify_run(run).problems == ["test/auc of the card cannot be computed from predictions.npz"]


def test_the_parts_of_a_long_recording_are_scored_again_by_their_names(runs: Path) -> None:
    """As RecordingPair leaves it: no part is called test, and the rows are called as their parts."""
    run = run_of(runs)
    card = read_card(run)
    with np.load(run / "predictions.npz") as file:
        columns = {name: values[:2] for name, values in file.items()}
    np.savez(run / "predictions.npz", **{**columns, "name": np.array(["train", "heldout"])})
    scores = {}
    for row, part in enumerate(("train", "heldout")):
        known = {f"{part}/{name}": float(values[row]) for name, values in columns.items() if values.dtype.kind == "f"}
        for score in ("snr{}_db", "si_sdr{}_db", "pesq{}", "stoi{}"):
            if f"{part}/{score.format('_input')}" in known:
                gain = known[f"{part}/{score.format('')}"] - known[f"{part}/{score.format('_input')}"]
                known[f"{part}/{score.format('_gain')}"] = gain
        scores |= known
    write_card(run, {**card, "scores": {**scores, "train/loss": 1.0, "val/loss": 1.0}, "scored": 1})
    assert verify_run(run).problems == []
    assert verify_run(run).notes == ["not computed again: val scores"]
    write_card(run, {**card, "scores": {**scores, "heldout/snr_db": 99.0}, "scored": 1})
    assert "heldout/snr_db" in verify_run(run).problems[0]


@pytest.mark.parametrize(
    ("edit", "problem"),
    [
        (lambda rows: [*rows, rows[-1]], "each epoch once"),
        (lambda rows: rows[:-1], "has 1 epochs and the card 2"),
        (lambda rows: [rows[0], rows[1], rows[2].replace("1,4", "1,2", 1)], "steps that do not rise"),
        (lambda rows: [rows[0], "x,y"], "metrics.csv cannot be checked"),
    ],
)
def test_a_table_of_epochs_with_gaps_or_repetitions_is_found(edit, problem: str, runs: Path) -> None:
    path = run_of(runs) / "metrics.csv"
    path.write_text("\n".join(edit(path.read_text().splitlines())) + "\n")
    assert problem in "; ".join(verify_run(run_of(runs)).problems)


def test_a_run_in_a_folder_of_another_name_is_found(runs: Path) -> None:
    run = run_of(runs)
    moved = run.rename(run.with_name("my_best"))
    assert verify_run(moved).problems == []
    assert f"a copy of run {run.name}" in verify_run(moved).notes
    kept = runs / ".old" / "lab2a_fir" / f"{run.name}-20260101-000000"  # as redo=true leaves it
    kept.parent.mkdir(parents=True)
    assert verify_run(moved.rename(kept)).problems == []


@pytest.mark.parametrize("name", ["config.yaml", "predictions.npz", "metrics.csv", "checkpoints/best.ckpt"])
def test_files_of_noise_are_problems_and_no_traceback(name: str, runs: Path) -> None:
    noise = np.random.default_rng(0)
    for size in (0, 1, 100, 5000):
        (run_of(runs) / name).write_bytes(noise.bytes(size))
        assert verify_run(run_of(runs)).problems


def test_a_run_that_is_not_done_is_checked_as_far_as_it_goes(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    run = run_of(runs)
    edit_card(run, state="stopped", scores={})
    for name in ("predictions.npz", "scores.txt", "checkpoints/best.ckpt"):
        (run / name).unlink()
    assert speechml(monkeypatch, "runs", "verify", str(run)) == 0
    assert f"{run}  ok (stopped: what is there was checked)" in capsys.readouterr().out
    flip(run / "checkpoints" / "last.ckpt", 0.5)
    assert speechml(monkeypatch, "runs", "verify", str(runs)) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "2 runs: 1 ok, 1 with problems"
