"""What a person reads when a run is done: scores beside the input's, the Wiener filter's and the published ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from speechml.report.audit import audit_lines
from speechml.report.class_summary import class_cells, confused, of_these_data, remarks
from speechml.runs.card import PublishedCard, RunCard
from speechml.runs.tables import format_score, table

# In a table: name, how it is shown.
ROWS = {"snr_db": "SNR (dB)", "si_sdr_db": "SI-SDR (dB)", "pesq": "PESQ", "stoi": "STOI", "mse": "MSE", "l1": "L1"}
COLUMNS = {
    "_input": "noisy input",
    "": "output",
    "_wiener": "Wiener filter",
    "_binary_mask": "ideal binary mask",
    "_clean_magnitude": "clean magnitude",
}
PARTS = {"test": "test part", "heldout": "held-out part", "train": "training part"}


def score_cells(
    scores: Mapping[str, float | None], published: PublishedCard, part: str
) -> tuple[list[str], list[list[str]]]:
    """Header and rows: input, output and references side by side, and the published figure where there is one."""
    given = published.scores
    columns = {what: title for what, title in COLUMNS.items() if f"{part}/snr{what}_db" in scores}
    shows_published = any(f"{part}/{score}" in given for score in ROWS)
    rows = []
    for score, title in ROWS.items():
        db = score.endswith("_db")
        cells = [scores.get(f"{part}/{score.removesuffix('_db')}{what}{'_db' * db}") for what in columns]
        if any(c is not None for c in cells):
            last = [format_score(given.get(f"{part}/{score}"), db)] * shows_published
            rows.append([title, *(format_score(c, db) for c in cells), *last])
    return [f"{PARTS.get(part, part)}, mean", *columns.values(), *["published"] * shows_published], rows


def scored_parts(scores: Mapping[str, float | None]) -> list[str]:
    """The parts that were tested whole, the held-out one last."""
    return [part for part in ("train", "test", "heldout") if f"{part}/snr_input_db" in scores]


def undefined(scores: Mapping[str, float | None], part: str) -> list[str]:
    """Sentences on the recordings that the means of a part leave out."""
    silent = scores.get(f"{part}/undefined")
    lines = []
    if silent:
        lines += [
            f"SNR is not defined on {silent:.0f} recordings (silence, or noisy equals clean); the means leave them out."
        ]
    for score in ("pesq", "stoi"):
        if count := scores.get(f"{part}/{score}_undefined"):
            why = "no speech, too short, or a silent output"
            lines += [f"{ROWS[score]} is not defined on {count:.0f} recordings ({why}), which its mean leaves out."]
    return lines


class Block(NamedTuple):
    """A table of scores, and what is said of them."""

    header: list[str]
    rows: list[list[str]]
    remarks: list[str]


def blocks(folder: Path, card: RunCard) -> list[Block]:
    """The scores of a run in tables, one for each part or kind."""
    scores, data, found = card.scores, card.data, list[Block]()
    published = card.published if of_these_data(card.published, data) else PublishedCard()
    if "test/acc" in scores:
        told = [*remarks(scores, card.scored or 0, data.called), *confused(folder / "predictions.npz")]
        found.append(Block(*class_cells(scores, published), told))
    for part in scored_parts(scores):
        # What was published of training data stands beside scores of the same protocol only.
        beside = published if data.protocol == "as_published" or part != "train" else PublishedCard()
        found.append(Block(*score_cells(scores, beside, part), undefined(scores, part)))
    return found


def facts(card: RunCard) -> list[str]:
    """What was published, what the scores were measured on, and how long it took; notes begin with two spaces."""
    scores, data, published = card.scores, card.data, card.published
    parts, lines = scored_parts(scores), []
    if published.source:
        lines += [f"Published: {published.source}. Note: {published.note or 'none'}."]
        same = of_these_data(published, data)
        for name, value in published.scores.items():
            part = name.split("/")[0]
            if part == "train" and "train" in parts and data.protocol != "as_published":
                lines += [f"  {name}: {value:.4g} published, where all of the recording was trained on"]
            elif name in scores and (not same or (part not in parts and "test/acc" not in scores)):
                where = "" if same else " of other data or another division"
                lines += [f"  {name}: {value:.4g} published{where}, {format_score(scores.get(name), False)} here"]
    if max(data.recordings.values()) > 1:
        counts = ", ".join(f"{n} {part}" for part, n in data.recordings.items()) + f" {data.called}"
    else:
        counts = ", ".join(f"{n} s {part}" for part, n in data.seconds.items())
    lines += audit_lines(card.audit)
    lines += [f"Data: {data.data}, {counts}, split protocol {data.protocol}, test set {data.test_fingerprint}."]
    if card.scored is not None and card.scored < data.recordings["test"]:
        lines += [f"Only {card.scored} of the {data.recordings['test']} test {data.called} were scored."]
    lines += [f"  note: {note}" for note in data.notes]
    if card.training_s is not None:
        epochs = f"{card.epochs} epoch{'s' * (card.epochs != 1)}"
        lines += [f"Training: {epochs} in {card.training_s:.0f} s, {card.parameters or 0:,} parameters."]
    return lines


def summary_text(folder: Path, card: RunCard) -> str:
    """The end of a run: its scores, what they were measured on, and where everything lies."""
    lines = [""]
    for block in blocks(folder, card):
        lines += [table(block.header, block.rows), "", *block.remarks]
        lines += [""] * ("test/acc" in card.scores)
    there = [f"{name}/" for name in ("figures", "audio", "checkpoints") if (folder / name).is_dir()]
    lines += [*facts(card), f"Run: {folder} ({', '.join(['card.json', *there])})"]
    return "\n".join([*lines, f"Look: speechml tensorboard {folder}"])
