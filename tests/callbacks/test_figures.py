"""What the figures show, against closed forms."""

from types import SimpleNamespace

import numpy as np
import pytest
import scipy.signal
import torch

from speechml.callbacks.denoising_figures import draw_filters, draw_response, frames_of, gain_db, layers_of
from speechml.callbacks.listening import least_gains
from speechml.callbacks.word_figures import WordFigures, draw_frame, draw_mel_bands, draw_power_spectrogram
from speechml.contracts import ClipBatch
from speechml.models import CNN, FCNN, FIR, MIMOCNN
from speechml.report.class_drawing import draw_confusion
from speechml.report.drawing import draw_spectra, literal, pixels, thin_out, welch_db
from speechml.signal.front_ends import FrontEnd
from speechml.tasks import MagnitudeDenoiser, WaveformDenoiser
from speechml.tasks.word_classification import Classifier


def test_the_gain_of_a_filter_is_that_of_its_formula() -> None:
    """A mean of two samples: |cos(w / 2)|; a difference: 2 |sin(w / 2)|."""
    for taps, formula in (([0.5, 0.5], np.cos), ([1.0, -1.0], lambda half: 2 * np.sin(half))):
        hertz, gain = gain_db(np.array(taps), 16000)
        assert (hertz[0], hertz[-1]) == (0, 8000)
        np.testing.assert_allclose(gain, 20 * np.log10(np.abs(formula(np.pi * hertz / 16000)) + 1e-6), atol=1e-4)


@pytest.mark.parametrize("normalize", [False, True, "recording"])
def test_the_response_is_that_of_the_linear_part(normalize: bool | str) -> None:
    torch.manual_seed(0)
    net = {"_target_": "speechml.models.MIMOCNN", "taps": [5, 5], "features": [1, 3, 1]}
    task = WaveformDenoiser(net, 16000, normalize=normalize).requires_grad_(False)
    if normalize:
        task.level.fill_(0.02)
    drawn = draw_response(task, torch.zeros(9), 9).axes[0].lines[1].get_ydata()
    small = torch.zeros(1, 1, 9, dtype=torch.float64)
    small[..., 0] = 1e-6
    linear = task.net.double()(small) - task.net(torch.zeros_like(small))
    np.testing.assert_allclose(drawn, gain_db(linear[0, 0].numpy() / 1e-6, 16000, min_size=8192)[1], atol=0.05)


def test_every_filter_of_every_layer_is_drawn() -> None:
    net = MIMOCNN(taps=[7, 5, 3], features=[1, 4, 2, 1])
    layers = layers_of(net)
    axes = draw_filters(layers, 32000).axes
    assert [len(axis.lines) for axis in axes] == [4, 8, 2]
    for axis, taps in zip(axes, layers, strict=True):
        drawn = {tuple(np.round(line.get_ydata(), 6)) for line in axis.lines}
        assert drawn == {
            tuple(np.round(20 * np.log10(np.abs(np.fft.rfft(taps[:, out, into], 1024)) + 1e-6), 6))
            for out in range(taps.shape[1]) for into in range(taps.shape[2])
        }  # fmt: skip
        assert axis.lines[0].get_xdata()[-1] == pytest.approx(16)  # kHz
    assert [len(layers_of(net)) for net in (FIR(9), CNN(), FCNN(8, 2))] == [1, 2, 0]


def test_names_are_text_whatever_is_in_them() -> None:
    figure = draw_confusion(np.array([[3, 1], [0, 2]]), ["$a$", "b$"])
    figure.axes[0].set_title(literal("$\\nonsense{$"))
    assert pixels(figure).shape[2] == 4  # a formula that is none would have been refused


def test_a_long_curve_keeps_its_extremes() -> None:
    values = np.random.default_rng(0).normal(size=50_000)
    places, kept = thin_out(np.arange(50_000), values)
    assert len(places) == len(kept) == 2000
    assert (kept.min(), kept.max()) == (values.min(), values.max())


def test_spectra_are_averaged_as_scipy_does() -> None:
    wave = np.random.default_rng(0).normal(size=20_000)
    hertz, level = welch_db(wave, 16000, 512)
    window = np.hanning(512)
    expected, power = scipy.signal.welch(wave, 16000, window, noverlap=256, detrend=False)
    np.testing.assert_allclose(hertz, expected)
    np.testing.assert_allclose(level[1:-1], 10 * np.log10(power[1:-1]), atol=1e-6)  # the ends have no other side
    figure = draw_spectra({"noisy": wave, "denoised": wave / 2, "clean": wave / 4}, 16000, "x", 512)
    drawn = {line.get_label(): line.get_ydata() for line in figure.axes[0].lines}
    np.testing.assert_allclose(drawn["noisy"] - drawn["denoised"], 20 * np.log10(2), atol=1e-6)
    assert set(drawn) == {"noisy", "denoised", "clean"}


def test_figures_of_words_read_the_networks_own_front_end() -> None:
    front = FrontEnd("log_mel", 8000, n_fft=256, mels=40)
    waveform = torch.randn(8000)
    assert draw_mel_bands(8000, front).axes[0].get_title().startswith("40 mel bands")
    assert draw_mel_bands(8000, front).axes[0].lines[0].get_xdata()[-1] == pytest.approx(4)  # kHz
    above, below = draw_frame(waveform, 8000, "x", front).axes
    assert [len(axis.lines[0].get_ydata()) for axis in (above, below)] == [129, 40]
    power = FrontEnd("power", 8000, n_fft=256)(waveform[None, None])[0, 0]
    np.testing.assert_allclose(
        below.lines[0].get_ydata() ** 2, (front.bands.T @ power[:, power.sum(0).argmax()]), rtol=1e-4
    )
    mesh = draw_power_spectrogram(waveform, 8000, "x", front).axes[0].collections[0].get_array()
    assert mesh.shape == (128, power.shape[1])


@pytest.mark.parametrize(
    ("kind", "own"), [("log_mel", {"frame", "mel_bands"}), ("power", {"frame"}), ("waveform", set())]
)
def test_only_what_the_front_end_has_is_drawn(kind: str, own: set[str]) -> None:
    net = (
        {"_target_": "speechml.models.M5", "width": 4}
        if kind == "waveform"
        else {"_target_": "speechml.models.SpectrogramCNN"}
    )
    task = Classifier(net, {"kind": kind, "mels": 100}, 16000, ["no", "yes"])
    task.items = {0: {"logits": np.array([1.0, 0.0]), "label": 0}}
    batch = ClipBatch(torch.randn(1, 1, 16000), torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long), 0)
    data = SimpleNamespace(splits={"test": [0]}, load_batch=lambda _: batch, item_names=["x"])
    drawn = WordFigures().draw(SimpleNamespace(datamodule=data), task)  # type: ignore[arg-type]
    assert drawn.keys() == {"confusion", "alluvial", "sample", "spectrogram"} | own
    if kind == "log_mel":
        assert drawn["mel_bands"].axes[0].get_title().startswith("100 mel bands")


def test_frames_of_a_denoiser_are_those_of_its_network() -> None:
    net = {"_target_": "speechml.models.STFTCNN1d", "bins": 129}
    assert frames_of(MagnitudeDenoiser(net, 8000, n_fft=256, hop=64)) == (256, 64)
    assert frames_of(WaveformDenoiser({"_target_": "speechml.models.FIR", "taps": 3}, 8000)) == (1024, 256)


def test_the_recordings_that_gained_least_are_found() -> None:
    gains = {4: 3.0, 5: -1.0, 6: float("nan"), 7: 0.5, 8: -9.0}
    items = {number: {"snr_db": gain + 2, "snr_input_db": 2.0} for number, gain in gains.items()}
    assert least_gains(items, [4, 5, 6, 7, 99], 3) == [5, 7, 4]  # 8 is of another split, and of 99 nothing is known
