"""A run: its identity, what it leaves, how it is continued, and what it refuses."""

import csv
import json
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from conftest import TINY, composed, make_pairs, read_card, succeed, write_card
from speechml.errors import FolderBusy, UserError
from speechml.runs.folder import lock
from speechml.runs.identity import run_id
from speechml.tasks.base import Task
from speechml.tasks.waveform_denoising import WaveformDenoiser

WHOLE = (*TINY, "experiment=lab2a_fir", "model.net.taps=8", "trainer.max_epochs=2")
FAST = (*WHOLE, "callbacks.figures=null", "report=false")


def weights(folder: Path, name: str = "last") -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]


def test_a_run_leaves_what_the_readme_says_in_its_folder_and_for_tensorboard(train: Callable[..., Path]) -> None:
    folder = train(*WHOLE)
    card = json.loads((folder / "card.json").read_text())
    assert card["state"] == "done"
    assert card["id"] == folder.name
    required = (
        "experiment",
        "command",
        "seed",
        "code",
        "versions",
        "hardware",
        "parameters",
        "training_s",
        "clips_per_s",
    )
    assert None not in [card[key] for key in required]
    assert {"protocol", "fingerprint", "test_fingerprint", "recordings"} <= set(card["data"])
    scores = card["scores"]
    assert scores["test/snr_gain_db"] == pytest.approx(scores["test/snr_db"] - scores["test/snr_input_db"])
    assert {"test/snr_wiener_db", "test/si_sdr_db", "test/mse", "test/mse_input", "test/l1", "train/mse"} <= set(scores)
    for name in ("config.yaml", "metrics.csv", "train.log", "checkpoints/best.ckpt", "checkpoints/last.ckpt"):
        assert (folder / name).stat().st_size > 0
    best = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    assert best.keys() == {"epoch", "global_step", "pytorch-lightning_version", "state_dict", "speechml"}
    figures = {p.stem.partition("_")[0] for p in (folder / "figures").iterdir()}
    assert figures == {"waveforms", "loss", "spectra", "response", "filters", "spectrogram"}
    assert len(list((folder / "audio").glob("*_denoised.wav"))) == 3
    index = json.loads((folder / "audio" / "index.json").read_text())
    assert {line["file"] for line in index} == {path.name for path in (folder / "audio").glob("*.wav")}
    with np.load(folder / "predictions.npz") as predictions:
        for name in {line["name"] for line in index}:
            assert name in predictions["name"]
            assert [line["version"] for line in index if line["name"] == name] == ["noisy", "clean", "denoised"]
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert {"train/loss", "val/loss", "val/snr_db"} <= set(rows[0])
    with np.load(folder / "predictions.npz") as predictions:
        assert len(predictions["name"]) == card["data"]["recordings"]["test"]
        assert predictions["snr_db"].mean() == pytest.approx(scores["test/snr_db"])
    events = EventAccumulator(str(folder), size_guidance={"audio": 0, "images": 0}).Reload()
    scalars = events.Tags()["scalars"]
    assert {"train/loss", "val/loss", "val/snr_db", "~hp/test/snr_db"} <= set(scalars)
    assert not np.isnan(events.Scalars("~hp/test/snr_db")[-1].value)
    assert any(tag.startswith("test/") and tag.endswith("/denoised") for tag in events.Tags()["audio"])
    assert {"~figures/waveforms", "~figures/spectra", "~figures/loss"} <= set(events.Tags()["images"])


def test_the_id_counts_what_changes_numbers_and_nothing_else(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    same = run_id(composed("train"))
    for override in ("paths.runs=elsewhere", "paths.cache=elsewhere", "logger.csv=false", "redo=true", "name=other",
                     "callbacks.listening.recordings=1", "experiment=speech_denoiser"):  # fmt: skip
        assert run_id(composed("train", override)) == same, override
    monkeypatch.setenv("SPEECHML_CACHE", "/elsewhere")
    assert run_id(composed("train")) == same
    different = [
        run_id(composed("train", o))
        for o in ("seed=1", "optimizer.lr=0.1", "data.split_seed=1", "+trainer.limit_train_batches=3")
    ]
    wav = [run_id(composed("train", "data=wav_pairs", f"data.root={root}")) for root in ("a", "b")]
    assert len({same, *different, *wav}) == 7


def test_the_id_is_the_same_alone_and_in_a_sweep(workplace: Path) -> None:
    succeed("speechml-train", "-m", *FAST, "optimizer.lr=0.001,0.002")
    found = {p.parent.name for p in (workplace / "runs" / "lab2a_fir").glob("*/card.json")}
    assert found == {run_id(composed("train", *FAST, f"optimizer.lr={lr}")) for lr in (0.001, 0.002)}
    assert {p.name for p in (workplace / "runs" / "lab2a_fir").iterdir()} == found
    assert len(list((workplace / "runs" / ".sweeps" / "lab2a_fir").glob("*/multirun.yaml"))) == 1
    assert [p.name for p in workplace.iterdir()] == ["runs"]


def test_the_same_config_gives_the_same_weights_bit_for_bit_and_redo_keeps_the_old_run(
    train: Callable[..., Path],
) -> None:
    folder = train(*FAST)
    first, old = weights(folder), read_card(folder)
    again = weights(train(*FAST, "redo=true"))
    assert all(torch.equal(first[name], again[name]) for name in first)
    (kept,) = (folder.parents[1] / ".old" / "lab2a_fir").iterdir()
    assert read_card(kept) == old
    assert {p.name for p in folder.parent.iterdir()} == {folder.name}
    other = weights(train(*FAST, "seed=1"))
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_a_done_run_is_not_trained_again_and_says_so(
    train: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = train(*FAST)
    before = (folder / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    capsys.readouterr()
    train(*FAST)
    said = capsys.readouterr().out
    assert "done already" in said
    assert "SNR (dB)" in said
    assert (folder / "checkpoints" / "last.ckpt").stat().st_mtime_ns == before
    assert "another version of the code" not in said
    card = read_card(folder)
    card["code"]["commit"] = "0" * 40
    write_card(folder, card)
    train(*FAST)
    assert "another version of the code" in capsys.readouterr().out


def test_other_data_are_noticed_before_a_resume(train: Callable[..., Path]) -> None:
    folder = train(*FAST)
    card = read_card(folder)
    for state in ("stopped", "done"):
        write_card(folder, {**card, "state": state, "data": {**card["data"], "fingerprint": "of other data"}})
        with pytest.raises(UserError, match="was made from other recordings"):
            train(*FAST)


def test_a_run_of_before_names_told_speakers_is_no_run_on_other_recordings(train: Callable[..., Path]) -> None:
    make_pairs(Path("pairs"), 12)
    for side, number in product(("noisy", "clean"), range(12)):
        Path("pairs", side, f"item{number}.wav").rename(Path("pairs", side, f"{'abcd'[number % 4] * 3}_{number}.wav"))
    words = ("experiment=lab2a_fir", "data=wav_pairs", "data.root=pairs", "trainer.max_epochs=1", "report=false")
    folder, other = train(*words), train(*words, "data.speaker=none")
    assert folder != other  # splits differ, so the runs do
    card, old = read_card(folder), read_card(other)["data"]
    assert old["protocol"] == "random"
    for state in ("stopped", "done"):
        write_card(folder, {**card, "state": state, "data": old})
        with pytest.raises(UserError, match=r"before names told .* was random, now it is speaker") as told:
            train(*words)
        assert "data.speaker=none" in str(told.value)
        assert "redo=true" in str(told.value)
    for known in (card["data"], {**old, "protocol": "speaker"}):  # of another split, or of the same
        write_card(folder, {**card, "data": {**known, "fingerprint": "of other data"}})
        with pytest.raises(UserError, match="was made from other recordings"):
            train(*words)


def test_a_checkpoint_of_another_model_is_refused_at_a_resume(train: Callable[..., Path]) -> None:
    folder = train(*FAST)
    other = train(*FAST, "model.net.taps=9")
    card = read_card(folder)
    write_card(folder, {**card, "state": "stopped"})
    (folder / "checkpoints" / "last.ckpt").write_bytes((other / "checkpoints" / "last.ckpt").read_bytes())
    with pytest.raises(UserError, match=r"last\.ckpt is a checkpoint of another model: weight net\.taps has shape"):
        train(*FAST)


@pytest.mark.parametrize("member", ["describe", "test_step"])
def test_whatever_fails_is_recorded_without_the_figures_of_a_run_that_is_done(
    member: str, train: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("as if by chance")

    monkeypatch.setattr(Task, member, fail)
    with pytest.raises(RuntimeError, match="by chance"):
        train(*FAST, "trainer.max_epochs=1")
    card = read_card(next(Path("runs").glob("lab2a_fir/*")))
    assert (card["state"], card["error"]) == ("failed", "RuntimeError: as if by chance")
    assert {card.get(key) for key in ("monitored", "epochs", "training_s", "clips_per_s")} == {None}


def test_scores_may_be_numpys_numbers(train: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    two = np.float32(2)
    scores_of = lambda _, split, __: {f"{split}/loss": two, f"{split}/snr_db": two}  # noqa: E731
    monkeypatch.setattr(WaveformDenoiser, "compute_scores", scores_of)
    words = ("trainer.max_epochs=1", "report=false", "callbacks.figures=null", "callbacks.listening=null")
    assert read_card(train(*FAST, *words))["scores"]["test/snr_db"] == 2


def test_two_launches_never_write_into_one_folder(tmp_path: Path) -> None:
    with lock(tmp_path), pytest.raises(FolderBusy, match="is being trained by process"), lock(tmp_path):
        pass
    with lock(tmp_path):
        pass
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(FileExistsError, match="link"), lock(tmp_path / "link" / "run"):
        pass


def test_the_weights_of_the_best_epoch_are_tested_unless_asked_otherwise(train: Callable[..., Path]) -> None:
    """With a learning rate that makes it worse, best is the first epoch and last is not."""
    base = (*FAST, "trainer.max_epochs=3", "optimizer.lr=0.5", "model.loss=mse", "model.normalize=true")
    best = read_card(train(*base, "checkpoint.test_weights=best"))
    last = read_card(train(*base, "checkpoint.test_weights=last"))
    assert best["scores"]["test/snr_db"] > last["scores"]["test/snr_db"] + 1
    for card in (best, last):  # one value of the score, that of the weights that are kept
        assert card["monitored"] == pytest.approx(card["scores"]["val/loss"], rel=1e-6)


def test_a_limit_of_batches_is_rounded_up_to_whole_epochs(train: Callable[..., Path]) -> None:
    folder = train(*FAST, "data.batch_size=8", "trainer.max_steps=5", "trainer.max_epochs=-1")  # 32 clips: 4 an epoch
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["4", "8"]
    assert all(row["val/loss"] for row in rows)
    assert (folder / "checkpoints" / "best.ckpt").is_file()


@pytest.mark.parametrize(("epochs", "period", "used"), [(20, 7, 5), (13, 10, 1), (12, 4, 4), (6, 100, 6), (-1, 3, 3)])
def test_the_last_epoch_always_ends_with_a_validation(epochs: int, period: int, used: int) -> None:
    from speechml.tasks.training_length import largest_divisor

    assert largest_divisor(epochs, period) == used
