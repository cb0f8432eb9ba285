"""The temporal convolutional network of magnitudes: all windows at once against one at a time, and what it looks at."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechml.models import STFTTCN


@st.composite
def networks(draw: Any) -> STFTTCN:
    dilations = draw(st.lists(st.integers(1, 4), min_size=0, max_size=4))
    return STFTTCN(draw(st.integers(1, 20)), draw(st.integers(1, 6)), draw(st.integers(1, 4)), dilations).eval()


@settings(deadline=None, max_examples=100)
@given(net=networks(), batch=st.integers(1, 3), extra=st.integers(0, 9), seed=st.integers(0, 9))
def test_all_windows_at_once_are_the_windows_one_by_one(net: STFTTCN, batch: int, extra: int, seed: int) -> None:
    spectrogram = torch.rand(batch, net.frames + extra, net.bins, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        together = net.all_windows(spectrogram)
        alone = [net(spectrogram[:, None, first : first + net.frames]) for first in range(extra + 1)]
    torch.testing.assert_close(together, torch.stack(alone, 1), rtol=1e-4, atol=1e-6)


def test_its_window_is_what_its_kernels_reach() -> None:
    net = STFTTCN(bins=5, channels=4, kernel=3, dilations=[1, 2, 4]).eval()
    assert net.frames == 1 + 2 * (1 + 2 + 4)
    spectrogram = torch.rand(1, 40, 5, requires_grad=True)
    net.all_windows(spectrogram)[0, 10].sum().backward()
    assert spectrogram.grad is not None
    seen = spectrogram.grad[0].abs().sum(1).nonzero()[:, 0]
    assert (int(seen.min()), int(seen.max())) == (10, 10 + net.frames - 1)  # the window's frames, none after its last


def test_it_never_makes_a_bin_louder() -> None:
    net = STFTTCN(bins=30, channels=8, dilations=[1]).eval()
    spectrogram = 10 * torch.rand(2, 20, 30)
    assert (net.all_windows(spectrogram) <= spectrogram[:, net.frames - 1 :]).all()


def test_other_shapes_are_refused() -> None:
    net = STFTTCN(bins=6, channels=2, dilations=[1])
    with pytest.raises(ValueError, match=r"windows must be \(batch, 1, 3, 6\)"):
        net(torch.rand(1, 1, 4, 6))
    with pytest.raises(ValueError, match="at least 3 frames"):
        net.all_windows(torch.rand(1, 2, 6))
