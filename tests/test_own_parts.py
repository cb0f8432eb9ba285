"""The worked folders of a user's own parts train, and have everything that shipped experiments have."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import speechml
from conftest import TINY, make_pairs, make_words, read_card, tone
from conftest import speechml as run_speechml
from resuming import run_in, stop_in
from speechml.inference.verify import verify_run
from stress_resume import differences

EXAMPLES = Path(__file__).parents[1] / "examples"
PLAIN = ("threads=1", "callbacks.progress=null", "trainer.max_epochs=2", "trainer.max_steps=-1")
MASK = (
    *PLAIN, "experiment=complex_mask", "model.net.channels=4", "model.net.dilations=[1,2]", "callbacks.figures=null",
    "report=false",
)  # fmt: skip


@pytest.fixture
def example(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:  # noqa: ARG001
    return lambda name: monkeypatch.setenv("SPEECHML_CONF", str(EXAMPLES / name))


def test_words_of_waveforms_are_trained_named_exported_and_shown(
    example: Callable[[str], None], train: Callable[..., Path], workplace: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    example("raw_words")
    words = make_words(workplace / "words")
    data = ("data=speech_commands", f"data.root={words}", "data.batch_size=16")
    run = train("experiment=raw_words", *PLAIN, *data, "model.net.widths=[8,8,16]", "trainer.max_epochs=12")
    assert read_card(run)["scores"]["test/acc"] > 0.6
    assert {path.stem for path in (run / "figures").iterdir()} >= {"confusion", "spectrogram", "loss"}
    assert not (run / "figures" / "mel_bands.png").exists()  # it hears waveforms
    assert (run / "report.html").stat().st_size > 1000
    capsys.readouterr()
    assert run_speechml(monkeypatch, "classify", str(run), str(words / "low"), "--format", "json") == 0
    answers = json.loads(capsys.readouterr().out)
    assert np.mean([answer["words"][0]["word"] == "low" for answer in answers]) > 0.6
    assert run_speechml(monkeypatch, "export", str(run), "exported") == 0
    assert verify_run(run).problems == []
    waveform = torch.from_numpy(tone())[None, None]
    with torch.no_grad():
        torch.testing.assert_close(speechml.load("exported")(waveform), speechml.load(run)(waveform))


def test_a_complex_mask_denoises_piece_by_piece_what_it_denoises_whole(
    example: Callable[[str], None], train: Callable[..., Path], workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example("complex_mask")
    words = (*MASK, "data=wav_pairs", f"data.root={make_pairs(workplace / 'pairs', seconds=1.2)}", "data.clip_s=0.5")
    run = train(*words, "report=true", "callbacks.figures={_target_: speechml.callbacks.Figures}")
    other = train(*words, "model.loss=snr")
    assert (run / "report.html").is_file()
    task = speechml.load(run)
    noisy = np.random.default_rng(0).standard_normal(25 * 16000 + 77).astype(np.float32) / 20
    soundfile.write("long.wav", noisy, 16000, subtype="FLOAT")
    assert run_speechml(monkeypatch, "denoise", str(run), "long.wav", "-o", "out") == 0
    out, _ = soundfile.read("out/long.wav", dtype="float32")
    with torch.no_grad():
        whole = task(torch.from_numpy(noisy)[None, None])[0, 0].numpy()
    np.testing.assert_allclose(out, whole, atol=1e-5 * float(np.abs(whole).max()))
    assert run_speechml(monkeypatch, "compare", str(run), str(other)) == 0


@pytest.mark.slow
def test_a_complex_mask_goes_on_to_the_bit(example: Callable[[str], None]) -> None:
    example("complex_mask")
    alone = run_in("alone", *MASK, *TINY)
    stop_in("stopped", 3, signal.SIGTERM, *MASK, *TINY)
    assert differences(alone, run_in("stopped", *MASK, *TINY)) == []


WHOLE = """
import torch


class Loudest(torch.nn.Module):
    receptive_field = float("inf")

    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(1.0))

    def forward(self, noisy):
        return self.gain * noisy / noisy.abs().amax(-1, keepdim=True)
"""


def test_a_network_that_hears_the_whole_recording_is_given_all_of_a_file(
    train: Callable[..., Path], workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workplace / "mine").mkdir()
    (workplace / "mine" / "whole.py").write_text(WHOLE)
    monkeypatch.setenv("SPEECHML_CONF", str(workplace / "mine"))
    run = train(
        "experiment=lab2a_fir",
        "~model.net",
        "+model.net={_target_: whole.Loudest}",
        "optimizer.lr=0",
        *PLAIN,
        *TINY,
        "report=false",
    )
    task = speechml.load(run)
    noisy = tone(25.0, 32000) * np.linspace(0.1, 1, 25 * 32000, dtype=np.float32)
    soundfile.write("long.wav", noisy, 32000, subtype="FLOAT")
    assert run_speechml(monkeypatch, "denoise", str(run), "long.wav", "-o", "out") == 0
    with torch.no_grad():
        whole = task(torch.from_numpy(noisy)[None, None])[0, 0].numpy()
    np.testing.assert_array_equal(soundfile.read("out/long.wav", dtype="float32")[0], whole)
