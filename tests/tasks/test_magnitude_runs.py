"""Runs of the magnitude denoisers from command to scores: parts, resuming, evaluating, bad recordings."""

import csv
from collections.abc import Callable
from pathlib import Path

import librosa
import numpy as np
import pytest
import torch

from conftest import composed, make_pairs, read_card, tone
from data.test_recording_pair import course_folder
from speechml.engine.checkpoint import read_checkpoint, write_checkpoint
from speechml.errors import UserError
from speechml.metrics.waveform import waveform_scores
from speechml.storage import audio
from speechml.tasks import MagnitudeDenoiser

PLAIN = ("callbacks.figures=null", "report=false")  # which would take most of a short run
SMALL = ("trainer.max_epochs=2", "model.net.channels=[4,4,4]")


@pytest.mark.slow
@pytest.mark.parametrize(
    "extra",
    [
        ("model.sampling=windows", "model.padding=none"),
        ("model.sampling=runs", "model.run=16", "model.augment.remix=0.5", "data.batch_size=4"),
        ("model.hop=256", "model.n_fft=512", "model.net.frames=9", "model.net.kernels=[[2,5],[2,5],[1,5]]"),
    ],
)
def test_a_run_scores_training_and_held_out_part_apart(
    extra: tuple[str, ...], train: Callable[..., Path], workplace: Path
) -> None:
    course_folder(workplace / "course", seconds=12.0)
    folder = train("experiment=hw2_cnn2d", "data=recording_pair", "data.root=course", *SMALL, *extra)
    card = read_card(folder)
    for part in ("train", "heldout"):
        for what in ("", "_input", "_gain", "_clean_magnitude", "_binary_mask"):
            assert np.isfinite(card["scores"][f"{part}/snr{what}_db"])
    assert not [name for name in card["scores"] if name.startswith("test/")]
    assert {p.name for p in (folder / "audio").iterdir()} >= {"test_x_01_denoised.wav", "heldout_denoised.wav"}
    assert {p.name for p in (folder / "figures").iterdir()} >= {"spectrogram_test_x_01.png", "spectrogram_heldout.png"}
    with np.load(folder / "predictions.npz") as predictions:
        assert list(predictions["name"]) == ["train", "heldout"]


def test_inputs_are_standardised_by_the_training_part_alone(train: Callable[..., Path], workplace: Path) -> None:
    course_folder(workplace / "course", seconds=12.0)
    folder = train(*PLAIN, "experiment=hw2_cnn1d", "data=recording_pair", "data.root=course", "trainer.max_epochs=1")
    state = read_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"]
    noisy = audio.load(workplace / "course" / "train_dirty_male.wav") / np.float32(32768)
    part = noisy[: round(round(len(noisy) * 0.8) * 0.9)]
    logs = np.log(np.abs(librosa.stft(part, n_fft=1024, hop_length=512)) + 1e-4)
    np.testing.assert_allclose(state["net.mean"].numpy(), logs.mean(1), atol=1e-3)
    assert float(state["net.std"]) == pytest.approx(logs.std(), rel=1e-2)


@pytest.mark.slow
def test_a_validation_every_other_epoch_leaves_no_stale_scores(train: Callable[..., Path], workplace: Path) -> None:
    course_folder(workplace / "course", seconds=8.0)
    folder = train(
        *PLAIN, "experiment=hw2_cnn1d", "data.root=course", "trainer.max_epochs=6", "trainer.check_val_every_n_epoch=4"
    )
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [bool(row["val/snr_db"]) for row in rows] == [False, False, True] * 2  # 3 divides 6, 4 does not
    assert all(row["train/loss"] for row in rows)
    assert (folder / "checkpoints" / "last.ckpt").is_file()


class Interrupted(Exception):
    pass


@pytest.mark.slow
def test_a_stopped_run_with_dropout_ends_as_the_one_that_was_not(
    train: Callable[..., Path], workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    course_folder(workplace / "course", seconds=8.0)
    config = (*PLAIN, "experiment=hw2_cnn1d_tuned", "data.root=course", "trainer.max_epochs=3", "model.passes=1")
    whole = read_checkpoint(train(*config) / "checkpoints" / "last.ckpt")["state_dict"]
    step = MagnitudeDenoiser.training_step

    def stop_in_the_last_epoch(self, batch, batch_idx):
        if self.trainer.current_epoch == 2:
            raise Interrupted
        return step(self, batch, batch_idx)

    monkeypatch.setattr(MagnitudeDenoiser, "training_step", stop_in_the_last_epoch)
    with pytest.raises(Interrupted):
        train(*config, "redo=true")
    monkeypatch.setattr(MagnitudeDenoiser, "training_step", step)
    resumed = read_checkpoint(train(*config) / "checkpoints" / "last.ckpt")["state_dict"]
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_the_training_loss_is_not_replaced_by_that_of_the_test(train: Callable[..., Path], workplace: Path) -> None:
    course_folder(workplace / "course", seconds=8.0)
    folder = train(*PLAIN, "experiment=hw2_cnn1d", "data.root=course", "trainer.max_epochs=2")
    card = read_card(folder)
    with (folder / "metrics.csv").open() as file:
        assert card["scores"]["train/loss"] == pytest.approx(float(list(csv.DictReader(file))[-1]["train/loss"]))
    assert not [name for name in card["scores"] if name.startswith(("val/", "test/"))]  # its validation is trained on


@pytest.mark.slow
def test_scoring_again_what_was_trained_on_is_called_that(
    train: Callable[..., Path], workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from speechml.engine.evaluate import evaluate

    course_folder(workplace / "course", seconds=12.0)
    common = ("data=recording_pair", "data.root=course", "trainer.max_epochs=1")
    for heldout, other, known in ((0, 0.2, True), (0.2, 0.3, True), (0.2, 0.2, False)):
        folder = train(*PLAIN, "experiment=hw2_cnn1d", *common, f"data.heldout={heldout}")
        capsys.readouterr()
        evaluate(composed("evaluate", f"run={folder}", *common[:2], f"data.heldout={other}"))
        said = capsys.readouterr().out
        assert ("Not a test: 1 of the 1" in said) == known, (heldout, other)
        assert ("training set" in said) == (heldout == other)  # elsewhere nothing of it is this run's training set


def test_a_foreign_pair_is_scored_whole_and_as_a_test(train: Callable[..., Path], workplace: Path) -> None:
    from speechml.engine.evaluate import evaluate

    course_folder(workplace / "course", seconds=8.0)
    folder = train(*PLAIN, "experiment=hw2_cnn1d", "data.root=course", "trainer.max_epochs=1")
    noisy = make_pairs(workplace / "pairs", 1, seconds=3.0) / "noisy" / "item0.wav"
    files = (f"data.noisy_file={noisy}", f"data.clean_file={noisy.parents[1] / 'clean' / 'item0.wav'}")
    scores = evaluate(composed("evaluate", f"run={folder}", "data=recording_pair", *files, "data.heldout=0"))
    waves = [torch.from_numpy(audio.load(workplace / "pairs" / side / "item0.wav") / np.float32(32768))[None, None]
             for side in ("noisy", "clean")]  # fmt: skip
    assert scores["test/snr_input_db"] == pytest.approx(float(waveform_scores(*waves)["snr_db"]))
    assert not [name for name in scores if not name.startswith("test/")]


@pytest.mark.slow
def test_scores_of_the_run_are_those_of_the_network_that_is_kept(train: Callable[..., Path], workplace: Path) -> None:
    """Although it was trained in bfloat16."""
    from speechml.engine.evaluate import evaluate

    course_folder(workplace / "course", seconds=8.0)
    folder = train(*PLAIN, "experiment=hw2_cnn2d_tuned", "data.root=course", "trainer.max_epochs=1", "model.passes=1")
    card = read_card(folder)
    assert evaluate(composed("evaluate", f"run={folder}"))["heldout/snr_db"] == pytest.approx(
        card["scores"]["heldout/snr_db"], rel=1e-9
    )


def test_an_unreadable_recording_to_listen_to_is_told_before_the_training(
    train: Callable[..., Path], workplace: Path
) -> None:
    root = course_folder(workplace / "course", seconds=8.0)
    (root / "test_x_02.wav").write_bytes((root / "test_x_01.wav").read_bytes()[:3000])
    with pytest.raises(UserError, match=r"test_x_02\.wav is cut short"):
        train(*PLAIN, "experiment=hw2_cnn1d", "data.root=course")
    assert not (workplace / "runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize("silent", ["train_clean_male", "both"])
def test_silent_recordings_end_without_a_score_and_without_an_error(
    silent: str, train: Callable[..., Path], workplace: Path
) -> None:
    root = course_folder(workplace / "course", seconds=8.0)
    for name in ("train_clean_male", "train_dirty_male") if silent == "both" else (silent,):
        audio.save(root / f"{name}.wav", 0 * tone(8.0), 16000)
    card = read_card(
        train(*PLAIN, "experiment=hw2_cnn2d_tuned", "data.root=course", "trainer.max_epochs=1", "model.passes=1")
    )
    assert card["state"] == "done"
    assert card["scores"]["heldout/undefined"] == 1


def test_a_checkpoint_of_other_frames_is_refused(train: Callable[..., Path], workplace: Path) -> None:
    import speechml

    course_folder(workplace / "course", seconds=8.0)
    folder = train(
        *PLAIN, "experiment=hw2_cnn2d", "data.root=course", "trainer.max_epochs=1", "model.net.channels=[4,4,4]"
    )
    for key, value in (("frames", 30), ("bins", 257)):
        content = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
        content["speechml"]["config"]["model"]["net"][key] = value
        write_checkpoint(content, workplace / "other.ckpt")
        with pytest.raises(
            UserError, match=r"checkpoint of another model|the network has 257 bins and n_fft 1024 gives 513"
        ):
            speechml.load(workplace / "other.ckpt")


def test_silent_recordings_are_counted_and_not_scored(train: Callable[..., Path], workplace: Path) -> None:
    make_pairs(workplace / "pairs", 8)
    for i in range(8):
        if i % 2:
            for side in ("noisy", "clean"):
                audio.save(workplace / "pairs" / side / f"item{i}.wav", 0 * tone(1.5), 16000)
    card = read_card(train(*PLAIN, "experiment=hw2_cnn1d", "data=wav_pairs", "data.root=pairs", "trainer.max_epochs=1"))
    tested = [int(name[-1]) for name in np.load(next(workplace.glob("runs/*/*/predictions.npz")))["name"]]
    assert card["scores"].get("test/undefined", 0) == sum(number % 2 for number in tested)
