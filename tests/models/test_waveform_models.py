import math

import numpy as np
import pytest
import torch

from speechml.models import CNN, FCNN, FIR, MIMOCNN


def delayed(x: np.ndarray, k: int) -> np.ndarray:
    """x delayed by k samples, zeros in front."""
    return np.concatenate([np.zeros(min(k, len(x))), x[: max(0, len(x) - k)]])


def test_fir_is_the_sum_over_delays_and_its_taps_start_at_one() -> None:
    net, x = FIR(taps=5).double(), np.random.default_rng(0).standard_normal(40)
    out = net(torch.tensor(x)[None, None])[0, 0].detach().numpy()
    np.testing.assert_allclose(out, sum(delayed(x, k) for k in range(5)), atol=1e-12)


def test_mimo_cnn_is_the_labs_definition() -> None:
    torch.manual_seed(0)
    net, x = MIMOCNN(taps=[4, 3], features=[1, 2, 1]).double(), np.random.default_rng(0).standard_normal(30)
    hidden = np.zeros((30, 2))
    for k in range(4):
        hidden += np.outer(delayed(x, k), net.filters[0][k, :, 0].detach().numpy())
    hidden, out = np.tanh(hidden), np.zeros(30)
    for k in range(3):
        for f in range(2):
            out += delayed(hidden[:, f], k) * net.filters[1][k, 0, f].item()
    np.testing.assert_allclose(net(torch.tensor(x)[None, None])[0, 0].detach().numpy(), out, atol=1e-12)


def test_mimo_cnn_starts_xavier_normal_on_the_tap_out_in_tensor() -> None:
    torch.manual_seed(0)
    h = MIMOCNN(taps=[400, 40], features=[1, 50, 1]).filters[0]
    # torch counts dimension 1 as in, dimension 0 as out and the rest as the kernel: fans 50 * 1 and 400 * 1.
    assert float(h.detach().std()) == pytest.approx(math.sqrt(2 / (50 + 400)), rel=0.03)


def test_cnn_has_one_filter_a_layer_that_starts_at_one() -> None:
    net = CNN(taps=[3, 2])
    assert [tuple(h.shape) for h in net.filters] == [(3, 1, 1), (2, 1, 1)]
    assert all(bool((h == 1).all()) for h in net.filters)


def test_fcnn_has_the_labs_layers_and_range() -> None:
    net = FCNN(samples=320, hidden=10)
    assert sum(p.numel() for p in net.parameters()) == 320 * 10 + 10 + 10 * 320 + 320
    assert all(-0.5 <= float(p.detach().min()) <= float(p.detach().max()) <= 0.5 for p in net.parameters())
    assert bool((net(torch.randn(2, 1, 320)) >= 0).all())
    with pytest.raises(ValueError, match=r"320 samples, not 100"):
        net(torch.randn(1, 1, 100))


@pytest.mark.parametrize(
    ("taps", "features", "words"),
    [
        ([40, 40], [1, 5], "features needs 3 numbers"),
        ([40], [1, 5, 1], "features needs 2 numbers"),
        ([], [1], "describe 0 layers"),
        ([40, 40], [2, 5, 1], "begin and end with 1"),
        ([40, 0], [1, 5, 1], "must be at least 1 each"),
        ([40, 40], [1, 0, 1], "must be at least 1 each"),
    ],
)
def test_wrong_lengths_of_taps_or_features_are_one_clear_error(
    taps: list[int], features: list[int], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        MIMOCNN(taps=taps, features=features)


def test_a_filter_without_taps_is_refused() -> None:
    with pytest.raises(ValueError, match="taps is 0"):
        FIR(taps=0)


@pytest.mark.parametrize("net", [FIR(81), CNN([40, 40]), MIMOCNN([5, 7, 3], [1, 2, 3, 1])])
def test_receptive_field_is_how_far_back_a_sample_is_felt(net: torch.nn.Module) -> None:
    x = torch.randn(1, 1, 300, dtype=torch.float64)
    net = net.double()
    changed = x.clone()
    changed[..., 100] += 1
    touched = torch.nonzero((net(x) != net(changed))[0, 0])[:, 0]
    assert int(touched.min()) == 100
    assert int(touched.max()) == 100 + net.receptive_field - 1
