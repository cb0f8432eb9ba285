"""Scores of classifiers against torchmetrics, scipy and counting."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_f1_score, multiclass_recall

from speechml.metrics.classification import class_scores, confusion


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(2, 7), st.integers(0, 1000))
def test_scores_are_torchmetrics(items: int, classes: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(items, classes, generator=generator)
    labels = torch.randint(classes, (items,), generator=generator)
    names = [f"c{i}" for i in range(classes)]
    found = class_scores(logits, labels, names)
    np.testing.assert_allclose(found["acc"], multiclass_accuracy(logits, labels, classes, average="micro"), rtol=1e-6)
    np.testing.assert_allclose(
        found["macro_f1"], multiclass_f1_score(logits, labels, classes, average="macro"), rtol=1e-5
    )
    np.testing.assert_allclose(found["loss"], torch.nn.functional.cross_entropy(logits, labels), rtol=1e-5)
    recalls = multiclass_recall(logits, labels, classes, average="none")
    for i, name in enumerate(names):
        if (labels == i).any():
            np.testing.assert_allclose(found[f"recall_{name}"], recalls[i], rtol=1e-6)
        else:
            assert f"recall_{name}" not in found


def test_confusions_are_counted_by_row_of_what_was_said() -> None:
    counts = confusion(torch.tensor([0, 0, 1, 2]), torch.tensor([0, 1, 1, 0]), 3)
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]
