"""A checkpoint whose weights are not finite is refused wherever it is used; so is output that is not, or is absurd."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import speechml
from conftest import TINY, composed, edit_card, make_pairs, run_of, tone
from speechml.engine.checkpoint import read_checkpoint, write_checkpoint
from speechml.engine.evaluate import evaluate
from speechml.engine.train import train
from speechml.errors import UserError
from speechml.inference.classify import classify_files
from speechml.inference.denoise import denoise_files
from speechml.inference.export import export
from speechml.inference.verify import verify_run
from speechml.storage import audio
from speechml.tasks import Classifier

NAN, INF = float("nan"), float("inf")


def spoil(run: Path, value: float, name: str = "net.taps") -> None:
    """Set one element of a weight, or of the first one, in all checkpoints of a run."""
    for path in (run / "checkpoints").glob("*.ckpt"):
        content = read_checkpoint(path)
        weights = content["state_dict"]
        weights[name or next(iter(weights))].view(-1)[-1:].fill_(value)
        write_checkpoint(content, path)


@pytest.fixture
def denoiser(trained: dict[str, Path], workplace: Path) -> Path:
    return Path(shutil.copytree(trained["lab2a_fir"], workplace / "runs" / "lab2a_fir" / trained["lab2a_fir"].name))


@pytest.fixture
def classifier(trained: dict[str, Path], workplace: Path) -> Path:
    return Path(shutil.copytree(trained["words_tuned"], workplace / "words_run"))


USES: dict[str, Callable[[Path], Any]] = {
    "load": speechml.load,
    "export": lambda run: export(run, Path("exported")),
    "denoise": lambda run: denoise_files(run, [Path("in.wav")], Path("out")),
    "evaluate": lambda run: evaluate(composed("evaluate", f"run={run}", "data=wav_pairs", "data.root=pairs",
                                              "data.sample_rate=32000")),
}  # fmt: skip


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("name", ["net.taps", "level"])
@pytest.mark.parametrize("use", USES)
def test_weights_that_are_not_finite_are_refused(use: str, name: str, value: float, denoiser: Path) -> None:
    spoil(denoiser, value, name)
    audio.save(Path("in.wav"), tone(0.5, 32000), 32000)
    make_pairs(Path("pairs"))
    with pytest.raises(UserError, match="holds weights that are NaN or infinite"):
        USES[use](denoiser)
    assert not list(Path("out").glob("*"))
    assert verify_run(denoiser).problems


@pytest.mark.parametrize("value", [NAN, INF])
def test_a_classifier_whose_weights_are_not_finite_is_refused(value: float, classifier: Path) -> None:
    spoil(classifier, value, name="")
    audio.save(Path("in.wav"), tone(1.0), 16000)
    with pytest.raises(UserError, match="holds weights that are NaN or infinite"):
        classify_files(classifier, [Path("in.wav")], "csv")


def test_a_run_does_not_go_on_from_weights_that_are_not_finite(finished_runs: Path, workplace: Path) -> None:
    place = shutil.copytree(finished_runs / "lab2a_fir", workplace / "runs" / "lab2a_fir").parent
    run = run_of(place)
    spoil(run, NAN)
    edit_card(run, state="stopped", files=None)
    words = (*TINY, "experiment=lab2a_fir", "model.net.taps=8", "callbacks.figures=null", "trainer.max_epochs=2")
    with pytest.raises(UserError, match="holds weights that are NaN or infinite"):
        train(composed("train", *words, f"paths.runs={place}"))


@pytest.mark.parametrize("value", [3e38, 1e20, 1e5, 100.0])
@pytest.mark.parametrize("extension", [".wav", ".flac"])
def test_output_that_is_not_finite_or_absurdly_loud_is_not_written(
    value: float, extension: str, denoiser: Path
) -> None:
    spoil(denoiser, value)
    audio.save(Path(f"in{extension}"), tone(0.5, 32000), 32000)
    with pytest.raises(UserError, match=r"the model makes .* of in"):
        denoise_files(denoiser, [Path(f"in{extension}")], Path("out"))
    assert not list(Path("out").glob("*"))


def test_output_that_is_clipped_is_said(denoiser: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoil(denoiser, 10.0)
    audio.save(Path("in.wav"), tone(0.5, 32000), 32000)
    denoise_files(denoiser, [Path("in.wav")], Path("out"))
    said = capsys.readouterr().out
    assert "note: 1 of them are clipped at full scale, most of all out/in.wav (" in said
    taps = read_checkpoint(denoiser / "checkpoints" / "last.ckpt")["state_dict"]["net.taps"].view(-1).numpy()
    peak = np.abs(np.convolve(audio.load(Path("in.wav")) / 32768, taps)[:16000]).max()
    assert float(said.partition("in.wav (")[2].partition(" times")[0]) == pytest.approx(peak, abs=0.01)


def test_a_level_of_nothing_gives_no_file_of_nan(denoiser: Path) -> None:
    spoil(denoiser, 0.0, "level")
    audio.save(Path("in.wav"), tone(0.5, 32000), 32000)
    with pytest.raises(UserError, match="NaN or infinite"):
        denoise_files(denoiser, [Path("in.wav")], Path("out"))


def test_an_evaluation_of_output_that_is_not_finite_is_refused(denoiser: Path) -> None:
    spoil(denoiser, 3e38)
    make_pairs(Path("pairs"))
    with pytest.raises(UserError, match="values that are NaN or infinite for "):
        USES["evaluate"](denoiser)
    assert not list(denoiser.glob("evaluations/*"))


def test_a_classifier_whose_logits_are_not_finite_names_nothing(
    classifier: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    audio.save(Path("in.wav"), tone(1.0), 16000)
    monkeypatch.setattr(Classifier, "forward", lambda _, waveform: torch.full((len(waveform), 3), INF))
    with pytest.raises(UserError, match=r"NaN or infinite for in\.wav"):
        classify_files(classifier, [Path("in.wav")], "csv")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("instead", ["nothing", "a link"])
def test_other_weights_than_those_that_were_scored_are_not_used_unasked(
    instead: str, trained: dict[str, Path], workplace: Path
) -> None:
    run = Path(shutil.copytree(trained["genre_mlp"], workplace / "copy"))
    best = run / "checkpoints" / "best.ckpt"
    best.rename(workplace / "best.ckpt")
    if instead == "a link":
        best.symlink_to(workplace / "best.ckpt")
    for use in (speechml.load, lambda place: export(place, workplace / "exported")):
        with pytest.raises(UserError, match=r"lacks checkpoints/best\.ckpt, whose weights .*give .*last\.ckpt itself"):
            use(run)
    assert speechml.load(run / "checkpoints" / "last.ckpt") is not None
