"""What a person reads when a run is done: scores beside those of the input and of references, and what they are of."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speechml.config.compose import mask_secrets
from speechml.errors import UserError
from speechml.report.audit import Audit, audit_lines
from speechml.report.certainty import certainty_remarks, shortfall, shortfall_remarks
from speechml.runs.card import NOT_SAID, DataCard, PublishedCard, RunCard, explain_damage
from speechml.runs.predictions import load_predictions
from speechml.runs.tables import format_score, table

Scores = Mapping[str, float | None]

WAVEFORM_TITLES = {
    "snr_db": "SNR (dB)", "si_sdr_db": "SI-SDR (dB)", "pesq": "PESQ", "stoi": "STOI", "mse": "MSE", "l1": "L1",
}  # fmt: skip
TITLES = {**WAVEFORM_TITLES, "acc": "accuracy", "macro_f1": "macro F1", "loss": "loss"}
# What a waveform score is of, as it stands in the score's name: `snr_db` of the noisy input is `snr_input_db`.
COLUMNS = {
    "_input": "noisy input", "": "output", "_wiener": "Wiener filter", "_binary_mask": "ideal binary mask",
    "_clean_magnitude": "clean magnitude",
}  # fmt: skip
SPLITS = {"train": "training set", "val": "validation set", "test": "test set", "heldout": "held-out set"}


@dataclass(frozen=True)
class ScoreTable:
    """Scores in a table, a row with a name and cells each, and sentences that belong below it."""

    header: list[str]
    rows: list[list[str]]
    remarks: list[str]

    def __str__(self) -> str:
        lines = [table(self.header, self.rows), "", *self.remarks]
        return "\n".join([*lines, *[""] * bool(self.remarks)])


def score_name(score: str, what: str) -> str:
    """The name of a score of the noisy input, say: the unit stays last, as in `snr_input_db`."""
    return f"{score.removesuffix('_db')}{what}_db" if score.endswith("_db") else f"{score}{what}"


WAVEFORM_SCORES = {score_name(score, what) for score in WAVEFORM_TITLES for what in (*COLUMNS, "_gain")} | {"loss"}


def score_tables(scores: Scores, data: DataCard, predictions: Path, warnings: Sequence[str] = ()) -> list[ScoreTable]:
    """The scores of a run in tables, one for each split or kind, with how certain they are as far as predictions tell.

    What its `warnings` say is not said again.
    """
    splits = [split for split in ("train", "test", "heldout") if f"{split}/snr_input_db" in scores]
    columns = read_predictions(predictions)
    tables = [_waveform_table(scores, split) for split in splits]
    shown = ("test/", "val/") if data.protocol == NOT_SAID else "test/"
    other = [[name, format_score(value, False)] for name, value in scores.items() if name.startswith(shown)]
    accuracy = scores.get("test/acc")  # of another module it may be 0 to 100, or anything
    if accuracy is not None and 0 <= accuracy <= 1 and data.protocol != NOT_SAID:
        from speechml.report.class_table import class_table

        is_ours = any(name.startswith(("test/macro_f1", "test/recall_")) for name in scores)
        tables.append(class_table(scores, columns) if is_ours else ScoreTable(["score", ""], other, []))
    for split, one in zip(splits or ["test"], tables, strict=False):
        if columns is not None and (split != "train" or len(splits) == 1):
            one.remarks[:0] = certainty_remarks(scores, columns, split, data.called, warnings)
        else:
            one.remarks[:0] = shortfall_remarks(scores, split, len(data.classes or ()), warnings=warnings)
    return tables or ([ScoreTable(["score", ""], other, [])] if other else [])


def run_tables(folder: Path, card: RunCard) -> list[ScoreTable]:
    """The scores of a run in tables, those of its further test sets last."""
    tables = score_tables(card.scores, card.data, folder / "predictions.npz", card.warnings or ())
    if card.test_sets:
        from speechml.report.test_sets import set_tables  # which makes its tables as here

        with explain_damage(folder):
            tables += set_tables(folder, card)
    return tables


def read_predictions(path: Path) -> dict[str, np.ndarray] | None:
    """Its columns; None where there is none, or `speechml runs verify` says what is wrong with it."""
    try:
        return load_predictions(path)
    except UserError:
        return None


def _waveform_table(scores: Scores, split: str) -> ScoreTable:
    """Input, output and references side by side."""
    columns = {what: title for what, title in COLUMNS.items() if f"{split}/{score_name('snr_db', what)}" in scores}
    rows = []
    for score, title in (WAVEFORM_TITLES | other_scores(scores, split, WAVEFORM_SCORES)).items():
        values = [scores.get(f"{split}/{score_name(score, what)}") for what in columns]
        if any(value is not None for value in values):
            rows.append([title, *(format_score(value, score.endswith("_db")) for value in values)])
    own = [
        (title, scores.get(f"val/{score}"), score.endswith("_db")) for score, title in list(WAVEFORM_TITLES.items())[:4]
    ]
    chosen = ", ".join(f"{title} {format_score(value, db)}" for title, value, db in own if value is not None)
    remarks = [f"Validation set, to choose by: {chosen}."] if chosen and split == "test" else []
    return ScoreTable([f"{SPLITS[split]}, mean", *columns.values()], rows, [*remarks, *_undefined(scores, split)])


def other_scores(scores: Scores, split: str, known: Container[str]) -> dict[str, str]:
    """The titles of the run's own metrics, which are their names without the split."""
    names = [name.removeprefix(f"{split}/") for name in scores if name.startswith(f"{split}/")]
    return {name: name for name in names
            if name not in known and not name.startswith("recall_") and "undefined" not in name}  # fmt: skip


def _undefined(scores: Scores, split: str) -> list[str]:
    """Sentences on the recordings that the means of a split leave out."""
    lines = []
    for score, title, why in (
        ("", "SNR", "silence, or noisy equals clean"),
        ("pesq_", "PESQ", "no speech, too short, or a silent output"),
        ("stoi_", "STOI", "no speech, too short, or a silent output"),
    ):
        if count := scores.get(f"{split}/{score}undefined"):
            lines.append(f"{title} is not defined on {count:.0f} recordings ({why}); the means leave them out.")
    return lines


def run_facts(card: RunCard) -> list[str]:
    """What was published, what the scores were measured on, and how long it took; notes begin with two spaces."""
    data = card.data
    lines = [f"Warning: {text}." for text in card.warnings or []]
    lines += [*_published_facts(card), *audit_lines(Audit.from_json(card.audit))]
    if max(data.recordings.values()) > 1:
        counts = ", ".join(f"{count} {split}" for split, count in data.recordings.items()) + f" {data.called}"
    else:
        counts = ", ".join(f"{seconds} s {split}" for split, seconds in data.seconds.items())
    lines.append(f"Data: {data.data}, {counts}, split protocol {data.protocol}, test set {data.test_fingerprint}.")
    if card.scored is not None and card.scored < data.recordings["test"]:
        lines.append(f"Only {card.scored} of the {data.recordings['test']} test {data.called} were scored.")
    lines += [f"  note: {note}" for note in data.notes]
    if card.level_curve and not any(
        shortfall(card.scores, split, len(data.classes or ())) for split in ("test", "heldout")
    ):
        from speechml.report.level import level_text  # which takes its titles from here

        lines.append(level_text(card.level_curve))
    if card.lineage:
        names = ["/".join(str(one[key]) for key in ("experiment", "id") if key in one) for one in card.lineage]
        lines.append(
            "Began with the weights of " + ", which began with those of ".join(n or "a network" for n in names) + "."
        )
    if card.extended:
        last = {"from_run": "another", "from_epochs": "some", **card.extended[-1]}
        lines.append(f"Went on from the run {last['from_run']}, which was done after {last['from_epochs']} epochs.")
    if card.training_s is not None:
        epochs = f"{card.epochs} epoch{'s' * (card.epochs != 1)}"
        lines.append(f"Training: {epochs} in {card.training_s:.0f} s, {card.parameters or 0:,} parameters.")
    return lines


def _published_facts(card: RunCard) -> list[str]:
    """Published scores beside those of the run, and whether they are of such data."""
    published = card.published
    if not published.source:
        return []
    lines = [mask_secrets(f"Published: {published.source}. Note: {published.note or 'none'}.")]
    lines += [f"  choice: {choice}" for choice in published.choices]
    lines += [f"  deviation: {deviation}" for deviation in published.deviations]
    for name, value in published.scores.items():
        if name in card.scores:
            other = " for other data or another split" * (not is_published_data(published, card.data, name))
            own, figure = format_score(card.scores[name], False), format_score(value, False)
            lines.append(f"  {name}: {figure} published{other}, {own} here")
    return lines


def is_published_data(published: PublishedCard, data: DataCard, score: str) -> bool:
    """Whether a published score is of such data: the card of the data has all that `published.of` says.

    What was published of training data is of all of a recording, and not of one whose end was held out.
    """
    wanted, own = dict(published.of), data.to_json() | {"classes": len(data.classes or ())}
    enough = sum(data.recordings.values()) >= wanted.pop("least", 0)
    whole = not score.startswith("train/") or data.protocol != "time"
    return enough and whole and all(own.get(key) == value for key, value in wanted.items())


def describe_machine(card: RunCard) -> str:
    """Processor, threads and GPUs that a run had."""
    machine = card.hardware
    return ", ".join(
        map(str, [machine.get("processor"), f"{machine.get('threads')} threads", *(machine.get("gpus") or [])])
    )


def summary_text(folder: Path, card: RunCard) -> str:
    """The end of a run: its scores, what they were measured on, and where everything lies."""
    folders = [f"{name}/" for name in ("figures", "audio", "checkpoints") if (folder / name).is_dir()]
    tables = run_tables(folder, card)
    return "\n".join([
        "", *map(str, tables), *run_facts(card),
        f"Run: {folder} ({', '.join(['card.json', *folders])})", f"Look: speechml tensorboard {folder}",
    ])  # fmt: skip
