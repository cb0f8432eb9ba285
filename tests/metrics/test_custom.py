"""Any metric of torchmetrics joins a run by its config."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_auroc

from conftest import make_features
from speechml.errors import UserError
from speechml.inference.verify import verify_run
from speechml.metrics.custom import CustomMetrics
from speechml.tasks import Classifier, WaveformDenoiser

CPU = torch.device("cpu")
PLACE = "torchmetrics.classification."
CLASSES = ["a", "b", "c"]


def predictions(items: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(items)
    return torch.randn(items, 3, generator=generator), torch.randint(3, (items,), generator=generator)


def classifier() -> Classifier:
    net = {"_target_": "speechml.models.SpectrogramResNet", "width": 8, "bins": 40}
    return Classifier(net, {"kind": "log_mel", "mels": 40}, 16000, classes=CLASSES)


def denoiser() -> WaveformDenoiser:
    return WaveformDenoiser({"_target_": "speechml.models.FIR", "taps": 4}, 16000)


def scored(task: Classifier, logits: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """The scores of a test split of these items."""
    task._begin_scoring(["test"])
    for i, (row, label) in enumerate(zip(logits.numpy(), labels.tolist(), strict=True)):
        task.items[i] = {"logits": row, "label": label}
    return task._split_scores("test", list(task.items))


@pytest.mark.parametrize("name", ["MulticlassAUROC", "AUROC"])
def test_a_metric_of_classes_is_torchmetrics_own_and_needs_no_arguments(name: str) -> None:
    task, (logits, labels) = classifier(), predictions(40)
    task.add_metrics({"auroc": {"_target_": PLACE + name}})
    scores = scored(task, logits, labels)
    assert scores["test/auroc"] == pytest.approx(float(multiclass_auroc(logits.softmax(1), labels, 3)), abs=1e-6)
    assert scores["test/acc"] == pytest.approx(float((logits.argmax(1) == labels).float().mean()))
    again = scored(task, *predictions(30))  # nothing is left of the items before
    assert again["test/auroc"] == pytest.approx(float(multiclass_auroc(*predictions(30), 3)), abs=1e-6)


def test_a_metric_with_several_values_is_a_score_for_each() -> None:
    task = classifier()
    task.add_metrics({"f1": {"_target_": PLACE + "MulticlassF1Score", "average": "none"}})
    assert {name for name in scored(task, *predictions(40)) if "/f1_" in name} == {f"test/f1_{i}" for i in range(3)}


def test_a_metric_of_waveforms_counts_each_split_by_itself() -> None:
    nodes = {"snr": {"_target_": "torchmetrics.audio.SignalNoiseRatio"}}
    metrics = CustomMetrics(nodes, {}, (torch.zeros(1, 100), torch.ones(1, 100)), gathered=False)
    metrics.reset(["train", "heldout"], CPU)
    clean = torch.randn(3, 1, 500)
    for split, factor in (("train", 0.9), ("heldout", 0.99)):
        for one in clean:
            metrics.update(split, factor * one, one)
    assert metrics.compute("train")["train/snr"] == pytest.approx(20, abs=1e-4)
    assert metrics.compute("heldout")["heldout/snr"] == pytest.approx(40, abs=1e-4)


def test_an_item_without_a_score_is_counted_and_ends_no_run() -> None:
    pytest.importorskip("pesq")
    task = denoiser()
    task.add_metrics({"narrow": {"_target_": "torchmetrics.audio.PerceptualEvaluationSpeechQuality", "mode": "nb"}})
    assert task.metrics is not None
    task.metrics.reset(["test"], CPU)
    noise = torch.randn(1, 16000)
    task.metrics.update("test", 0.9 * noise, noise)
    alone = task.metrics.compute("test")["test/narrow"]
    task.metrics.update("test", noise, torch.zeros(1, 16000))
    assert task.metrics.compute("test") == {"test/narrow": pytest.approx(alone), "test/narrow_undefined": 1.0}


@pytest.mark.parametrize(
    ("task", "nodes", "says"),
    [
        (classifier, {"x": 3}, "metrics.x is 3; give the metric as"),
        (classifier, {"x": {"_target_": "torch.nn.ReLU"}}, "metrics.x is a ReLU, which is no metric"),
        (classifier, {"x": {"_target_": PLACE + "MulticlassAUROCC"}}, "names nothing that can be imported"),
        (classifier, {"x": {"_target_": PLACE + "MulticlassAUROC", "averge": "macro"}}, "Unexpected keyword.*averge"),
        (classifier, {"x": {"_target_": PLACE + "MulticlassAUROC", "num_classes": 7}}, "metrics.x MulticlassAUROC does not"),
        (classifier, {"x": {"_target_": "torchmetrics.audio.SignalNoiseRatio"}}, "does not take predictions and targets of"),
        (classifier, {"acc": {"_target_": PLACE + "MulticlassAUROC"}}, "metrics.acc is no name for a further score"),
        (denoiser, {"a/b": {"_target_": "torchmetrics.MeanSquaredError"}}, "metrics.a/b is no name for a further score"),
        (denoiser, {"x": {"_target_": PLACE + "MulticlassAUROC"}}, "metrics.x MulticlassAUROC: .*num_classes"),
    ],
)  # fmt: skip
def test_what_is_no_metric_for_the_task_is_refused(task: Any, nodes: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        task().add_metrics(nodes)


def test_a_metric_is_no_part_of_the_model() -> None:
    task, names = classifier(), set(classifier().state_dict())
    task.add_metrics({"auroc": {"_target_": PLACE + "MulticlassAUROC", "thresholds": 5}})
    assert set(task.state_dict()) == names


def test_a_run_has_the_scores_of_its_metrics(train: Callable[..., Path], workplace: Path) -> None:
    auroc = "{auroc: {_target_: torchmetrics.classification.MulticlassAUROC}}"
    data = f"data.root={make_features(workplace / 'features.npz')}"
    folder = train("experiment=genre_mlp", data, f"+metrics={auroc}", "trainer.max_epochs=2", "callbacks.figures=null")
    scores = json.loads((folder / "card.json").read_text())["scores"]
    with np.load(folder / "predictions.npz") as found:
        logits, labels = torch.from_numpy(found["logits"]), torch.from_numpy(found["label"])
    assert scores["test/auroc"] == pytest.approx(float(multiclass_auroc(logits.softmax(1), labels, 3)), abs=1e-6)
    assert {"train/auroc", "val/auroc"} <= set(scores)
    assert "val/auroc" in (folder / "metrics.csv").read_text().splitlines()[0]
    assert not verify_run(folder).problems


OWN_METRIC = """
import torch
from torchmetrics import Metric


class Loudest(Metric):
    higher_is_better = False

    def __init__(self, above=0.0):
        super().__init__()
        self.above = above
        self.add_state("peak", torch.tensor(0.0), dist_reduce_fx="max")

    def update(self, prediction, target):
        self.peak = torch.maximum(self.peak, prediction.abs().max() + self.above)

    def compute(self):
        return self.peak
"""


def test_a_metric_of_ones_own_is_a_score_by_which_weights_are_chosen(
    train: Callable[..., Path], workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workplace / "mine").mkdir()
    (workplace / "mine" / "loud.py").write_text(OWN_METRIC)
    monkeypatch.setenv("SPEECHML_CONF", str(workplace / "mine"))
    run = train(
        "experiment=genre_mlp", f"data.root={make_features(workplace / 'x.npz')}", "trainer.max_epochs=2", "report=false",
        "callbacks=none", "+metrics={loudest: {_target_: loud.Loudest, above: 1.0}}", "checkpoint.monitor=val/loudest",
    )  # fmt: skip
    card = json.loads((run / "card.json").read_text())
    logits = torch.from_numpy(np.load(run / "predictions.npz")["logits"])
    assert card["scores"]["test/loudest"] == pytest.approx(1 + float(logits.softmax(1).max()), rel=1e-6)
    assert verify_run(run).problems == []
