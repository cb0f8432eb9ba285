"""A run: its identity, what it leaves, how it is continued, and what it refuses."""

import csv
import json
import multiprocessing
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from conftest import TINY, composed, read_card, succeed, write_card
from speechml.errors import UserError
from speechml.runs.folder import lock
from speechml.runs.identity import run_id

FAST = (*TINY, "experiment=lab2a_fir", "model.net.taps=8", "trainer.max_epochs=2")


def weights(folder: Path, name: str = "last") -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]


def test_a_run_leaves_what_the_readme_says(train: Callable[..., Path]) -> None:
    folder = train(*FAST)
    card = json.loads((folder / "card.json").read_text())
    assert card["state"] == "done"
    assert card["id"] == folder.name
    for key in (
        "experiment",
        "command",
        "seed",
        "code",
        "versions",
        "hardware",
        "parameters",
        "training_s",
        "clips_per_s",
    ):
        assert card[key] is not None
    assert {"protocol", "fingerprint", "test_fingerprint", "recordings"} <= set(card["data"])
    scores = card["scores"]
    assert scores["test/snr_gain_db"] == pytest.approx(scores["test/snr_db"] - scores["test/snr_input_db"])
    assert {"test/snr_wiener_db", "test/si_sdr_db", "test/mse", "test/mse_input", "test/l1", "train/mse"} <= set(scores)
    for name in (
        "config.yaml",
        "metrics.csv",
        "train.log",
        "predictions.npz",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
    ):
        assert (folder / name).stat().st_size > 0
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


def test_tensorboard_gets_curves_audio_figures_and_final_scores(train: Callable[..., Path]) -> None:
    events = EventAccumulator(str(train(*FAST)), size_guidance={"audio": 0, "images": 0}).Reload()
    scalars = events.Tags()["scalars"]
    assert {"train/loss", "val/loss", "val/snr_db", "hp/test/snr_db"} <= set(scalars)
    assert not np.isnan(events.Scalars("hp/test/snr_db")[-1].value)
    assert any(tag.startswith("test/") and tag.endswith("/denoised") for tag in events.Tags()["audio"])
    assert {"figures/waveforms", "figures/spectra", "figures/loss"} <= set(events.Tags()["images"])


def test_the_id_counts_what_changes_numbers_and_nothing_else(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    same = run_id(composed("train"))
    for override in ("paths.runs=elsewhere", "paths.cache=elsewhere", "logger.csv=false", "redo=true", "name=other",
                     "callbacks.listening.recordings=1", "experiment=lab2b_mimo_cnn"):  # fmt: skip
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


def test_the_same_config_gives_the_same_weights_bit_for_bit(train: Callable[..., Path]) -> None:
    first = weights(train(*FAST))
    again = weights(train(*FAST, "redo=true"))
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_seed_zero_is_a_seed(train: Callable[..., Path]) -> None:
    mimo = (*TINY, "trainer.max_epochs=1", "+trainer.limit_train_batches=1")
    a, b, c = (weights(train(*mimo, f"seed={seed}", "redo=true")) for seed in (0, 0, 1))
    assert all(torch.equal(a[n], b[n]) for n in a)
    assert not all(torch.equal(a[n], c[n]) for n in a)


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


def test_a_run_of_another_code_version_is_told(train: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = train(*FAST)
    card = read_card(folder)
    card["code"]["commit"] = "0" * 40
    write_card(folder, card)
    train(*FAST)
    assert "another version of the code" in capsys.readouterr().out


def test_redo_keeps_the_old_run_aside(train: Callable[..., Path]) -> None:
    folder = train(*FAST)
    old = read_card(folder)
    train(*FAST, "redo=true")
    kept = list((folder.parents[1] / ".old" / "lab2a_fir").iterdir())
    assert len(kept) == 1
    assert read_card(kept[0]) == old
    assert {p.name for p in folder.parent.iterdir()} == {folder.name}


class Interrupted(Exception):
    pass


def test_a_stopped_run_ends_as_the_one_that_was_not(
    train: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from speechml.tasks import WaveformDenoiser

    config = (*TINY, "experiment=lab2b_mimo_cnn", "optimizer=adam", "scheduler=one_cycle", "trainer.max_epochs=3")
    whole = weights(train(*config))
    step = WaveformDenoiser.training_step

    def stop_in_the_last_epoch(self, batch, batch_idx):
        if self.trainer.current_epoch == 2:
            raise Interrupted
        return step(self, batch, batch_idx)

    monkeypatch.setattr(WaveformDenoiser, "training_step", stop_in_the_last_epoch)
    with pytest.raises(Interrupted):
        train(*config, "redo=true")
    folder = next((Path("runs") / "lab2b_mimo_cnn").iterdir())
    card = read_card(folder)
    assert card["state"] == "failed"
    assert card["error"].startswith("Interrupted")
    monkeypatch.setattr(WaveformDenoiser, "training_step", step)
    resumed = weights(train(*config))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    with (folder / "metrics.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["0", "1", "2"]


@pytest.mark.parametrize("state", ["stopped", "done"])
def test_other_data_are_noticed_before_a_resume(state: str, train: Callable[..., Path]) -> None:
    folder = train(*FAST)
    card = read_card(folder)
    write_card(folder, {**card, "state": state, "data": {**card["data"], "fingerprint": "of other data"}})
    with pytest.raises(UserError, match="was made from other recordings"):
        train(*FAST)


def test_a_checkpoint_of_another_model_is_refused_at_a_resume(train: Callable[..., Path]) -> None:
    folder = train(*FAST)
    other = train(*FAST, "model.net.taps=9")
    card = read_card(folder)
    write_card(folder, {**card, "state": "stopped"})
    (folder / "checkpoints" / "last.ckpt").write_bytes((other / "checkpoints" / "last.ckpt").read_bytes())
    with pytest.raises(UserError, match=r"last\.ckpt is a checkpoint of another model: weight net\.taps has shape"):
        train(*FAST)


def test_two_launches_never_write_into_one_folder(tmp_path: Path) -> None:
    with lock(tmp_path / "run"):
        context = multiprocessing.get_context("spawn")
        with context.Pool(1) as pool:
            assert "is being trained by process" in pool.apply(claim, (tmp_path / "run",))
    assert claim(tmp_path / "run") == ""


def claim(folder: Path) -> str:
    try:
        with lock(folder):
            return ""
    except UserError as refused:
        return str(refused)


@pytest.mark.slow
def test_two_launches_at_once_are_one_run(workplace: Path) -> None:
    import subprocess

    program = str(Path(sys.executable).with_name("speechml-train"))
    both = [
        subprocess.Popen([program, *FAST], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    ends = [(p.wait(timeout=200), *p.communicate()) for p in both]
    trained = [out for code, out, _ in ends if code == 0 and "done already" not in out]
    assert len(trained) == 1
    for code, out, err in ends:
        assert "Traceback" not in err
        assert code == 0 or "is being trained by" in err, (out, err)
    assert len(list((workplace / "runs" / "lab2a_fir").iterdir())) == 1


def test_the_weights_of_the_best_epoch_are_tested_unless_asked_otherwise(train: Callable[..., Path]) -> None:
    """With a learning rate that makes it worse, best is the first epoch and last is not."""
    base = (*FAST, "trainer.max_epochs=3", "optimizer.lr=0.5", "model.loss=mse", "model.normalize=true")
    best = read_card(train(*base, "checkpoint.test_weights=best"))
    last = read_card(train(*base, "checkpoint.test_weights=last"))
    assert best is not None
    assert last is not None
    assert best["scores"]["test/snr_db"] > last["scores"]["test/snr_db"] + 1


def test_a_limit_of_batches_is_rounded_up_to_whole_epochs(train: Callable[..., Path]) -> None:
    folder = train(*FAST, "data.batch_size=8", "trainer.max_steps=5", "trainer.max_epochs=-1")  # 32 clips: 4 an epoch
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["4", "8"]
    assert all(row["val/loss"] for row in rows)
    assert (folder / "checkpoints" / "best.ckpt").is_file()


@pytest.mark.parametrize(("epochs", "period", "used"), [(20, 7, 5), (13, 10, 1), (12, 4, 4), (-1, 3, 3), (6, 100, 6)])
def test_the_last_epoch_always_ends_with_a_validation(epochs: int, period: int, used: int) -> None:
    from speechml.engine.trainer import largest_divisor

    assert largest_divisor(epochs, period) == used


def test_a_period_of_no_epochs_is_refused(train: Callable[..., Path], workplace: Path) -> None:
    with pytest.raises(UserError, match="check_val_every_n_epoch is 0; it must be a whole number of at least 1"):
        train(*FAST, "trainer.check_val_every_n_epoch=0")
    assert not (workplace / "runs").exists()
