import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechml.signal.wiener import Wiener


@settings(max_examples=30, deadline=None)
@given(taps=st.integers(1, 9), lengths=st.lists(st.integers(1, 30), min_size=3, max_size=6), seed=st.integers(0, 999))
def test_is_the_least_squares_solution_over_all_records(taps: int, lengths: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    wiener, rows, targets = Wiener(taps), [], []
    for length in lengths:
        x, s = random.standard_normal((2, length))
        wiener.add(torch.tensor(x)[None, None], torch.tensor(s)[None, None])
        rows += [[x[n - k] if n >= k else 0.0 for k in range(taps)] for n in range(length)]
        targets += list(s)
    matrix = np.array(rows)
    if np.linalg.matrix_rank(matrix) < taps or np.linalg.cond(matrix) > 1e4:
        return  # no unique solution to compare with
    expected = np.linalg.lstsq(matrix, np.array(targets), rcond=None)[0]
    np.testing.assert_allclose(wiener.solve().numpy(), expected, atol=1e-3 * max(1.0, np.abs(expected).max()))


def test_recovers_the_filter_that_made_the_clean_waveform() -> None:
    x = torch.randn(4, 1, 2000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    h = torch.tensor([0.5, -0.3, 0.2], dtype=torch.float64)
    padded = torch.nn.functional.pad(x, (2, 0))
    clean = sum(h[k] * padded[..., 2 - k : 2002 - k] for k in range(3))
    wiener = Wiener(5)
    wiener.add(x, clean)
    torch.testing.assert_close(wiener.solve(), torch.cat([h, torch.zeros(2, dtype=torch.float64)]), atol=1e-9, rtol=0)


def test_silence_gives_a_filter_of_zeros() -> None:
    wiener = Wiener(4)
    wiener.add(torch.zeros(2, 1, 50), torch.zeros(2, 1, 50))
    assert torch.equal(wiener.solve(), torch.zeros(4, dtype=torch.float64))
