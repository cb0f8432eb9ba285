"""What the figures show, against closed forms."""

import numpy as np
import pytest
import torch

from speechml.callbacks.denoising_figures import draw_filters, draw_response, gain_db, layers_of
from speechml.models import CNN, FCNN, FIR, MIMOCNN
from speechml.report.class_drawing import draw_confusion
from speechml.report.drawing import literal, pixels, thin_out
from speechml.tasks import WaveformDenoiser


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
