"""The strided CNNs of homework 2: their sizes, and all windows at once against one window at a time."""

import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from speechml.models import STFTCNN1d, STFTCNN2d
from speechml.models.stft_cnn import ACTIVATIONS, INPUTS, OUTPUTS


def windows(spectrogram: torch.Tensor, frames: int) -> torch.Tensor:
    """Every run of `frames` frames. Shape: (batch, time, bins) -> (batch, time - frames + 1, frames, bins)."""
    return spectrogram.unfold(-2, frames, 1).transpose(-1, -2)


def test_shapes_are_the_homeworks() -> None:
    assert STFTCNN1d()(torch.rand(3, 1, 513)).shape == (3, 513)
    assert STFTCNN2d()(torch.rand(3, 1, 20, 513)).shape == (3, 513)
    assert STFTCNN2d().all_windows(torch.rand(2, 50, 513)).shape == (2, 31, 513)


def test_other_shapes_than_frames_and_windows_are_refused() -> None:
    for shape in ((3, 513), (3, 1, 512), (3, 2, 513), (3, 1, 1, 513)):
        with pytest.raises(ValueError, match=r"frames must be \(batch, 1, 513\)"):
            STFTCNN1d()(torch.rand(shape))
    with pytest.raises(ValueError, match=r"windows must be \(batch, 1, 20, 513\)"):
        STFTCNN2d()(torch.rand(3, 1, 19, 513))
    with pytest.raises(ValueError, match="at least 20 frames"):
        STFTCNN2d().all_windows(torch.rand(1, 19, 513))


pairs = st.tuples(st.integers(1, 4), st.integers(1, 4))


@st.composite
def networks(draw: Any) -> STFTCNN2d:
    depth = draw(st.integers(0, 3))
    layers = [draw(st.lists(pairs, min_size=depth, max_size=depth)) for _ in range(3)]
    channels = draw(st.lists(st.integers(1, 3), min_size=depth, max_size=depth))
    try:
        return STFTCNN2d(
            draw(st.integers(1, 30)), draw(st.integers(1, 14)), channels, *layers,
            activation=draw(st.sampled_from(sorted(ACTIVATIONS))), output=draw(st.sampled_from(sorted(OUTPUTS))),
            inputs=draw(st.sampled_from(list(INPUTS))), batch_norm=draw(st.booleans()), dropout=0.3,
        )  # fmt: skip
    except ValueError:
        assume(False)
        raise


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.filter_too_much])
@given(net=networks(), batch=st.integers(1, 3), extra=st.integers(0, 12), seed=st.integers(0, 9))
def test_all_windows_at_once_are_the_windows_one_by_one(net: STFTCNN2d, batch: int, extra: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    spectrogram = torch.rand(batch, net.frames + extra, net.bins, generator=generator)
    for buffer in net.buffers():  # batch norms that have seen something
        if buffer.is_floating_point():
            buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    net.eval()
    with torch.no_grad():
        one_by_one = torch.stack([net(w[:, None]) for w in windows(spectrogram, net.frames).unbind(1)], 1)
        assert float((net.all_windows(spectrogram) - one_by_one).abs().max()) <= 1e-5


def test_the_network_is_convolutions_one_linear_layer_and_activations() -> None:
    """Against torch's own layers, with what does not fit cut from the oldest frames."""
    net = STFTCNN2d(channels=(4, 5), kernels=((3, 5), (2, 4)), strides=((2, 3), (3, 2)), pooling=((1, 2), (1, 1)))
    x = torch.rand(2, 1, 20, 513)
    first = F.max_pool2d(
        F.relu(F.conv2d(x[:, :, 1:], net.convolutions[0].weight, net.convolutions[0].bias, (2, 3))), (1, 2)
    )
    second = F.relu(F.conv2d(first[:, :, 1:], net.convolutions[1].weight, net.convolutions[1].bias, (3, 2)))
    torch.testing.assert_close(net(x), F.softplus(net.linear(second.flatten(1))))


@pytest.mark.parametrize("kernel", [2, 3, 4, 5, 7])
@pytest.mark.parametrize("stride", [1, 2, 3, 4])
def test_the_frame_that_is_cleaned_is_always_seen(kernel: int, stride: int) -> None:
    kernels = [(kernel, 9), (2, 9)]
    net = STFTCNN2d(513, 20, (2, 2), kernels, [(stride, 4)] * 2, [(1, 1)] * 2, activation="softplus")
    x = torch.rand(1, 1, 20, 513, requires_grad=True)
    net(x).sum().backward()
    assert x.grad is not None
    assert float(x.grad[0, 0, -1].abs().sum()) > 0


@pytest.mark.parametrize(
    ("strides", "words"),
    [
        ([4, 8, 8], "layer 3 of 3 (kernel 1 x 5, stride 1 x 8, pooling 1 x 1) leaves nothing of its 1 x 4 map"),
        ([600, 2, 2], "layer 2 of 3"),
    ],
)
def test_a_map_that_shrinks_to_nothing_is_refused_and_the_layer_named(strides: list[int], words: str) -> None:
    kernels = (3, 5, 5) if strides[0] == 600 else (9, 100, 5)
    with pytest.raises(ValueError, match=re.escape(words)):
        STFTCNN1d(channels=(4, 4, 4), kernels=kernels, strides=strides, pooling=(1, 1, 1))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kernels": (3,)}, "channels names 2 layers and kernels 1; give an entry for every layer"),
        ({"output": "foo"}, "output is 'foo'; it can be relu, softplus, mask"),
        ({"activation": "foo"}, "activation is 'foo'; it can be relu, "),
        ({"inputs": "foo"}, "inputs is 'foo'; it can be magnitude, log"),
    ],
)
def test_a_wrong_option_is_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        STFTCNN1d(**changes)


def test_the_receptive_field_is_what_moves_an_element_of_the_map() -> None:
    net = STFTCNN2d(65, 20, (2, 2), ((3, 5), (2, 3)), ((2, 3), (3, 2)), ((1, 2), (2, 1)), activation="softplus")
    x = torch.rand(1, 1, 20, 65, requires_grad=True)
    maps = []
    net.linear.register_forward_pre_hook(lambda _, args: maps.append(args[0]))
    net.eval()(x)
    channels, height, width = net.map
    maps[0].view(channels, height, width)[0, -1, 0].backward()
    assert x.grad is not None
    touched = x.grad[0, 0] != 0
    rows, columns = touched.any(1).nonzero()[:, 0], touched.any(0).nonzero()[:, 0]
    # Max pooling passes the gradient to one of its inputs only: at most the field, and the field counts pooling.
    assert int(rows[-1] - rows[0]) + 1 <= net.receptive_field[0]
    assert int(columns[-1] - columns[0]) + 1 <= net.receptive_field[1]
    plain = STFTCNN2d(65, 20, (2, 2), ((3, 5), (2, 3)), ((2, 3), (3, 2)), ((1, 1), (1, 1)))
    assert plain.receptive_field == (3 + (2 - 1) * 2, 5 + (3 - 1) * 3)
    assert net.receptive_field == (3 + (2 - 1) * 2 + (2 - 1) * 6, 5 + (2 - 1) * 3 + (3 - 1) * 6)


def test_log_inputs_are_standardised_by_the_training_magnitudes() -> None:
    net = STFTCNN1d(inputs="log")
    magnitudes = torch.rand(500, 513) * torch.linspace(0.1, 5, 513)
    net.fit_inputs(magnitudes)
    logs = torch.log(magnitudes + 1e-4)
    torch.testing.assert_close(net._scaled(magnitudes), (logs - logs.mean(0)) / logs.std())
