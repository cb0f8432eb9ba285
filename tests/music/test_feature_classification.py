"""Genre runs: what is scored, what is kept, and what is refused."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import speechml
from conftest import composed, make_features, make_pairs
from speechml.engine import train as engine
from speechml.errors import UserError

DRAWN = ("experiment=genre_mlp", "data.root=x.npz", "trainer.max_epochs=3", "report=false")
SHORT = (*DRAWN, "callbacks.figures=null")


def test_a_run_scores_all_three_parts_and_predicts_the_test_rows(train: Callable[..., Path], workplace: Path) -> None:
    path = make_features(workplace / "x.npz")
    run = train(*DRAWN)
    card = json.loads((run / "card.json").read_text())
    with np.load(path) as file, np.load(run / "predictions.npz") as found:
        rows, labels = torch.from_numpy(file["Xdata"]).float(), file["Ydata"].ravel()
        logits, label, names = found["logits"], found["label"], found["name"]
    assert len(names) == card["data"]["recordings"]["test"]
    assert card["scores"]["test/acc"] == pytest.approx((logits.argmax(1) == label).mean())
    task = speechml.load(run)
    with torch.no_grad():
        every = task(rows).argmax(1).numpy() == labels
    counts = card["data"]["recordings"]
    parts = sum(card["scores"][f"{part}/acc"] * counts[part] for part in counts)
    assert parts == pytest.approx(every.sum())
    figures = {path.stem for path in (run / "figures").iterdir()}
    assert {"confusion", "features", "predictions", "accuracy", "loss"} <= figures


def test_the_training_loss_of_an_epoch_is_the_mean_over_its_rows(train: Callable[..., Path], workplace: Path) -> None:
    make_features(workplace / "x.npz")
    still = ("optimizer=sgd", "optimizer.lr=1e-30", "scheduler=none", "callbacks.early_stopping=null")
    run = train(*SHORT, *still, "data.batch_size=60")  # 194 rows: a last batch of 14
    task = speechml.load(run)
    data = composed("train", *SHORT).data
    from speechml.data import GenreFeatures

    known = GenreFeatures(root="x.npz", batch_size=60, split_seed=data.split_seed, cache=data.cache).corpus
    rows = known.splits["train"]
    with torch.no_grad():
        wanted = torch.nn.functional.cross_entropy(task(known.features[rows]), known.labels[rows])
    with (run / "metrics.csv").open() as file:
        for row in csv.DictReader(file):
            assert float(row["train/loss"]) == pytest.approx(float(wanted), rel=1e-5)


def test_the_training_loss_under_an_optimiser_of_several_closures_is_that_of_the_batch(
    train: Callable[..., Path], workplace: Path
) -> None:
    make_features(workplace / "x.npz")
    still = ("optimizer=lbfgs", "optimizer.lr=1e-30", "optimizer.line_search_fn=null", "scheduler=none")
    run = train(*SHORT, *still, "data.batch_size=60", "callbacks.early_stopping=null")
    with (run / "metrics.csv").open() as file:
        losses = [float(row["train/loss"]) for row in csv.DictReader(file)]
    assert losses == pytest.approx(
        [losses[0]] * len(losses), rel=1e-5
    )  # weights stand still, whatever the order of rows


def test_a_search_goes_by_the_weights_that_are_tested(workplace: Path) -> None:
    make_features(workplace / "x.npz")
    common = (*SHORT, "trainer.max_epochs=8", "optimizer.lr=0.3", "test=false")
    by_default, by_name = (engine.train(composed("train", *common, *more)) for more in ([], ["objective=val/loss"]))
    assert by_default == by_name
    other = engine.train(composed("train", *common, "objective=val/acc", "redo=true"))
    scored = engine.train(composed("train", *common[:-1], "objective=val/acc"))
    assert other == scored  # with a test or without


def test_the_best_weights_are_those_that_are_tested(train: Callable[..., Path], workplace: Path) -> None:
    make_features(workplace / "x.npz")
    run = train(*SHORT, "trainer.max_epochs=8", "optimizer.lr=0.3")
    with (run / "metrics.csv").open() as file:
        losses = [float(row["val/loss"]) for row in csv.DictReader(file)]
    card = json.loads((run / "card.json").read_text())
    assert card["scores"]["val/loss"] == pytest.approx(min(losses), rel=1e-5)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("model.columns=[true_peak]", "columns names true_peak, which is no feature; did you mean true_peak_db"),
        ("model.columns=[]", "name at least one feature"),
        ("model.log=[rms]", "log names rms"),
        ("model.net.layers=-1", "model.net.layers is -1; it must be a whole number from 0 to 1000"),
        ("data.protocol=fair", "data.protocol is fair; it can be as_published or honest"),
        ("data=wav_pairs", "FeatureClassifier learns from rows of features, and the data are pairs of noisy and clean"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(override: str, says: str, workplace: Path) -> None:
    place = make_pairs(workplace / "pairs") if override == "data=wav_pairs" else make_features(workplace / "x.npz")
    with pytest.raises(UserError, match=says):
        engine.train(composed("train", "experiment=genre_mlp", f"data.root={place}", override))
    assert not (workplace / "runs" / "genre_mlp").exists()


def test_words_and_denoisers_refuse_rows_of_features(workplace: Path) -> None:
    make_features(workplace / "x.npz")
    for experiment in ("words_tuned", "lab2a_fir", "hw2_cnn1d_tuned"):
        with pytest.raises(UserError):
            engine.train(composed("train", f"experiment={experiment}", "data=genre_features", "data.root=x.npz"))
