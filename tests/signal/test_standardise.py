"""Columns are normalised as NumPy would."""

import numpy as np
import torch

from speechml.signal.standardise import Standardise


def test_columns_have_mean_0_and_standard_deviation_1_of_ddof_1() -> None:
    rows = np.random.default_rng(0).uniform(0.1, 5, (50, 4))
    scaler = Standardise([0, 2, 3], [2])
    scaler.fit(torch.from_numpy(rows))
    values = np.stack([rows[:, 0], np.log(rows[:, 2]), rows[:, 3]], axis=1)
    wanted = (values - values.mean(0)) / values.std(0, ddof=1)
    np.testing.assert_allclose(scaler(torch.from_numpy(rows)).numpy(), wanted, atol=1e-5)


def test_a_column_that_does_not_vary_and_a_ratio_of_zero_stay_finite() -> None:
    rows = torch.tensor([[1.0, 0.0], [1.0, 2.0]])
    scaler = Standardise([0, 1], [1])
    scaler.fit(rows)
    assert scaler(rows).isfinite().all()
    assert not scaler(rows)[:, 0].any()
