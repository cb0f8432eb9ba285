"""What a person reads when a run is done or was scored again: scores beside the input's, references and published ones."""

from __future__ import annotations

import time
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speechml.report.audit import Audit, audit_lines
from speechml.runs.card import DAMAGE, DataCard, PublishedCard, RunCard
from speechml.runs.tables import format_score, table

Scores = Mapping[str, float | None]

WAVEFORM_TITLES = {
    "snr_db": "SNR (dB)", "si_sdr_db": "SI-SDR (dB)", "pesq": "PESQ", "stoi": "STOI", "mse": "MSE", "l1": "L1",
}  # fmt: skip
CLASS_TITLES = {"acc": "accuracy", "macro_f1": "macro F1", "loss": "loss (cross entropy)"}
TITLES = {**WAVEFORM_TITLES, **CLASS_TITLES, "loss": "loss"}  # a denoiser's loss is another than a classifier's
# What a waveform score is of, as it stands in the score's name: `snr_db` of the noisy input is `snr_input_db`.
COLUMNS = {
    "_input": "noisy input", "": "output", "_wiener": "Wiener filter", "_binary_mask": "ideal binary mask",
    "_clean_magnitude": "clean magnitude",
}  # fmt: skip
SPLITS = {"train": "training set", "val": "validation set", "test": "test set", "heldout": "held-out set"}
NAMED = 5  # classes, and pairs of classes, that are named


@dataclass(frozen=True)
class ScoreTable:
    """Scores in a table, and sentences that belong below it.

    Attributes:
        header: of the columns; the first is that of the names of scores.
        rows: a name and cells each.
    """

    header: list[str]
    rows: list[list[str]]
    remarks: list[str]

    def __str__(self) -> str:
        return "\n".join([table(self.header, self.rows), "", *self.remarks])


def score_name(score: str, what: str) -> str:
    """The name of a score of the noisy input, say: the unit stays last, as in `snr_input_db`."""
    return f"{score.removesuffix('_db')}{what}_db" if score.endswith("_db") else f"{score}{what}"


def whole_splits(scores: Scores) -> list[str]:
    """The splits of a denoiser's data that were tested whole, the held-out one last."""
    return [split for split in ("train", "test", "heldout") if f"{split}/snr_input_db" in scores]


def score_tables(
    scores: Scores, data: DataCard, predictions: Path, scored: int | None, published: PublishedCard | None = None
) -> list[ScoreTable]:
    """The scores of a run in tables, one for each split or kind.

    Args:
        scores: by name, as in a card.
        data: that they are of.
        predictions: file of the predictions that they are of.
        scored: number of test items that have scores.
        published: figures to stand beside them.
    """
    beside = published or PublishedCard()
    tables = []
    if "test/acc" in scores:
        tables.append(_class_table(scores, data, predictions, scored or 0, beside))
    for split in whole_splits(scores):
        # What was published of training data stands beside scores of the same protocol only.
        comparable = data.protocol == "as_published" or split != "train"
        tables.append(_waveform_table(scores, split, beside if comparable else PublishedCard()))
    if not tables and scores:
        rows = [[name, format_score(value, False)] for name, value in scores.items() if name.startswith("test/")]
        tables = [ScoreTable(["", SPLITS["test"]], rows, [])] if rows else []
    return tables


def _waveform_table(scores: Scores, split: str, published: PublishedCard) -> ScoreTable:
    """Input, output and references side by side, with the published figure where there is one."""
    columns = {what: title for what, title in COLUMNS.items() if f"{split}/{score_name('snr_db', what)}" in scores}
    known = {score_name(score, what) for score in WAVEFORM_TITLES for what in (*COLUMNS, "_gain")} | {"loss"}
    titles = WAVEFORM_TITLES | {name: name for name in _other_scores(scores, split, known)}
    beside = any(f"{split}/{score}" in published.scores for score in titles)
    rows = []
    for score, title in titles.items():
        values = [scores.get(f"{split}/{score_name(score, what)}") for what in columns]
        if any(value is not None for value in values):
            figure = [published.scores.get(f"{split}/{score}")] * beside
            rows.append([title, *(format_score(value, score.endswith("_db")) for value in (*values, *figure))])
    header = [f"{SPLITS[split]}, mean", *columns.values(), *["published"] * beside]
    return ScoreTable(header, rows, _undefined(scores, split))


def _class_table(
    scores: Scores, data: DataCard, predictions: Path, scored: int, published: PublishedCard
) -> ScoreTable:
    """The scores of each split, with the published ones where there are some."""
    # The training loss and accuracy of every run are known; the macro F1 only where all of the training set was scored.
    splits = [split for split in ("train", "val", "test") if f"{split}/macro_f1" in scores]
    titles = CLASS_TITLES | {name: name for name in _other_scores(scores, "test", set(CLASS_TITLES))}
    rows = []
    for score, title in titles.items():
        figure = [published.scores.get(f"test/{score}")] * bool(published.scores)
        values = [*(scores.get(f"{split}/{score}") for split in splits), *figure]
        rows.append([title, *(format_score(value, score.endswith("_db")) for value in values)])
    header = ["", *(SPLITS[split] for split in splits), *["published"] * bool(published.scores)]
    remarks = [*_accuracy_remarks(scores, scored, data.called), *_confused_pairs(predictions)]
    return ScoreTable(header, rows, remarks)


def _other_scores(scores: Scores, split: str, known: set[str]) -> list[str]:
    """Names of scores of the run's own metrics, without their split."""
    names = [name.removeprefix(f"{split}/") for name in scores if name.startswith(f"{split}/")]
    return [name for name in names if name not in known and not name.startswith("recall_") and "undefined" not in name]


def _undefined(scores: Scores, split: str) -> list[str]:
    """Sentences on the recordings that the means of a split leave out."""
    lines = []
    if count := scores.get(f"{split}/undefined"):
        why = "silence, or noisy equals clean"
        lines.append(f"SNR is not defined on {count:.0f} recordings ({why}); the means leave them out.")
    for score in ("pesq", "stoi"):
        if count := scores.get(f"{split}/{score}_undefined"):
            why = "no speech, too short, or a silent output"
            lines.append(f"{TITLES[score]} is not defined on {count:.0f} recordings ({why}); its mean leaves them out.")
    return lines


def _accuracy_remarks(scores: Scores, count: int, item_name: str) -> list[str]:
    """How certain the accuracy is, and the classes of the lowest recall."""
    from speechml.metrics.classification import interval

    accuracy = scores["test/acc"]
    lines = []
    if accuracy is not None and count:
        low, high = interval(accuracy, count)
        of = f"{count} {item_name}; variation between seeds is not included"
        lines = [f"95 % interval of the accuracy: {low:.3f} to {high:.3f} ({of})."]
    recalls = {name.removeprefix("test/recall_"): value for name, value in scores.items() if "test/recall_" in name}
    lowest = sorted((value, name) for name, value in recalls.items() if value is not None and value < 1)
    equal = [name for value, name in lowest if value == lowest[0][0]]
    if len(equal) > NAMED:
        lines.append(f"Lowest recall: {lowest[0][0]:.0%}, of {len(equal)} of {len(recalls)} classes.")
    elif lowest:
        lines.append("Lowest recall: " + ", ".join(f"{name} {value:.0%}" for value, name in lowest[:NAMED]) + ".")
    return lines


def _confused_pairs(predictions: Path) -> list[str]:
    """The pairs of classes that were confused most often."""
    if not predictions.is_file():
        return []
    try:
        with np.load(predictions, allow_pickle=False) as file:
            names, label, predicted = file["classes"], file["label"], file["logits"].argmax(1)
        wrong = label != predicted
        pairs, counts = np.unique(np.stack([label[wrong], predicted[wrong]]), axis=1, return_counts=True)
        order = np.argsort(-counts, kind="stable")[:NAMED]
        texts = [f"{names[pairs[0, i]]} with {names[pairs[1, i]]} {counts[i]}x" for i in order]
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, *DAMAGE):  # verify says what is wrong with the file
        return []
    return [f"Most often confused: {', '.join(texts)}."] if texts else []


def is_published_data(published: PublishedCard, data: DataCard) -> bool:
    """Whether published figures are of such data: the card of the data has all that `published.of` says."""
    wanted, own = dict(published.of), data.to_json() | {"classes": len(data.classes or ())}
    enough = sum(data.recordings.values()) >= wanted.pop("least", 0)
    return enough and all(own.get(key) == value for key, value in wanted.items())


def run_tables(folder: Path, card: RunCard) -> list[ScoreTable]:
    """The tables of a run that is done."""
    published = card.published if is_published_data(card.published, card.data) else None
    return score_tables(card.scores, card.data, folder / "predictions.npz", card.scored, published)


def run_facts(card: RunCard) -> list[str]:
    """What was published, what the scores were measured on, and how long it took; notes begin with two spaces."""
    data = card.data
    lines = [*_published_facts(card), *audit_lines(Audit.from_json(card.audit))]
    if max(data.recordings.values()) > 1:
        counts = ", ".join(f"{count} {split}" for split, count in data.recordings.items()) + f" {data.called}"
    else:
        counts = ", ".join(f"{seconds} s {split}" for split, seconds in data.seconds.items())
    lines.append(f"Data: {data.data}, {counts}, split protocol {data.protocol}, test set {data.test_fingerprint}.")
    if card.scored is not None and card.scored < data.recordings["test"]:
        lines.append(f"Only {card.scored} of the {data.recordings['test']} test {data.called} were scored.")
    lines += [f"  note: {note}" for note in data.notes]
    if card.training_s is not None:
        epochs = f"{card.epochs} epoch{'s' * (card.epochs != 1)}"
        lines.append(f"Training: {epochs} in {card.training_s:.0f} s, {card.parameters or 0:,} parameters.")
    return lines


def _published_facts(card: RunCard) -> list[str]:
    scores, published, splits = card.scores, card.published, whole_splits(card.scores)
    if not published.source:
        return []
    lines = [f"Published: {published.source}. Note: {published.note or 'none'}."]
    same = is_published_data(published, card.data)
    for name, value in published.scores.items():
        split = name.partition("/")[0]
        if split == "train" and "train" in splits and card.data.protocol != "as_published":
            lines.append(f"  {name}: {value:.4g} published, where the whole recording was trained on")
        elif name in scores and (not same or (split not in splits and "test/acc" not in scores)):
            of = "" if same else " for other data or another split"
            lines.append(f"  {name}: {value:.4g} published{of}, {format_score(scores[name], False)} here")
    return lines


def summary_text(folder: Path, card: RunCard) -> str:
    """The end of a run: its scores, what they were measured on, and where everything lies."""
    lines = [""]
    for block in run_tables(folder, card):
        lines += [str(block), *[""] * bool(block.remarks)]
    folders = [f"{name}/" for name in ("figures", "audio", "checkpoints") if (folder / name).is_dir()]
    lines += [*run_facts(card), f"Run: {folder} ({', '.join(['card.json', *folders])})"]
    return "\n".join([*lines, f"Look: speechml tensorboard {folder}"])


def evaluation_text(card: RunCard, data: DataCard, scores: Scores, audit: Audit, seen: int, output: Path) -> str:
    """What `speechml-evaluate` prints: the scores, and how they relate to the run's own.

    Args:
        card: of the run.
        data: that it was scored on.
        audit: of these data.
        seen: number of their test items that the run was trained or validated on.
        output: the files that were written, without their suffix.
    """
    lines = [""]
    test_count, total = data.recordings["test"], sum(data.recordings.values())
    for block in score_tables(scores, data, output.with_name(f"{output.name}.npz"), test_count):
        lines += [str(block), *[""] * bool(block.remarks)]
    own_data = card.data.fingerprint == data.fingerprint
    lines += audit_lines(audit) if own_data or not seen else []  # what is known of other data is said below
    protocol = f"split protocol {data.protocol}, test set {data.test_fingerprint}"
    lines.append(f"Data: {data.data}, {test_count} test {data.called} of {total}, {protocol}.")
    lines += [f"  note: {note}" for note in data.notes]
    if seen:
        used = f"{seen} of the {test_count} {data.called} were used, at least in part, to train or validate the run"
        lines.append(f"Not a test: {used}.")
    if card.state != "done":
        lines.append(f"The run is not finished (its state is {card.state}).")
    if card.data.test_fingerprint == data.test_fingerprint:
        lines.append("This is the test set of the run itself.")
    else:
        lines.append("This is not the test set of the run: its own scores are not comparable with these.")
    lines.append(f"Written: {output}.json and .npz, {time.strftime('%Y-%m-%d %H:%M')}")
    return "\n".join(lines)
