"""What a person reads when a run is done: scores beside the input's, the Wiener filter's and the published ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

# In a table: name, how it is shown.
ROWS = {"snr_db": "SNR (dB)", "si_sdr_db": "SI-SDR (dB)", "mse": "MSE", "l1": "L1"}


def table(header: list[str], rows: list[list[str]]) -> str:
    """Aligned text: the first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = []
    for row in [header, ["-" * w for w in widths], *rows]:
        lines.append(
            "  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        )
    return "\n".join(line.rstrip() for line in lines)


def shown(value: float | None, unit_db: bool) -> str:
    """A figure as a table shows it: two decimals in dB, four digits elsewhere."""
    if value is None:
        return "-"
    return f"{value:.2f}" if unit_db else f"{value:.4g}"


def score_table(scores: dict[str, Any], published: dict[str, Any], part: str = "test") -> str:
    """Input, output and Wiener filter side by side, and the published figure where there is one."""
    given = published.get("scores", {})
    rows = []
    for score, title in ROWS.items():
        db = score.endswith("_db")
        stem = score.removesuffix("_db")
        cells = [scores.get(f"{part}/{stem}{what}{'_db' * db}") for what in ("_input", "", "_wiener")]
        if all(c is None for c in cells):
            continue
        rows.append([title, *(shown(c, db) for c in cells), shown(given.get(f"{part}/{score}"), db)])
    header = [f"{part} part, mean", "noisy input", "output", "Wiener filter", "published"]
    if all(row[-1] == "-" for row in rows):  # nothing was published: no column
        header, rows = header[:-1], [row[:-1] for row in rows]
    return table(header, rows)


def summary(folder: Path, card: dict[str, Any]) -> str:
    """The end of a run: its scores, what they were measured on, and where everything lies."""
    scores, data, published = card.get("scores", {}), card["data"], card.get("published") or {}
    lines = [""]
    if any(k.startswith("test/") for k in scores):
        lines += [score_table(scores, published), ""]
        undefined = scores.get("test/undefined")
        if undefined:
            lines += [
                f"SNR is not defined on {undefined:.0f} recordings (silence, or noisy equals clean); the means leave them out."
            ]
    if published.get("source"):
        lines += [f"Published: {published['source']}. Note: {published.get('note', 'none')}."]
        trained = {k: v for k, v in published.get("scores", {}).items() if k.startswith("train/")}
        lines += [f"  {k}: {v:.4g} published, {shown(scores.get(k), False)} here" for k, v in trained.items()]
    counts = ", ".join(f"{n} {part}" for part, n in data["recordings"].items())
    lines += [
        f"Data: {data['data']}, {counts} recordings, split protocol {data['protocol']}, test set {data['test_fingerprint']}."
    ]
    if card.get("scored", data["recordings"]["test"]) < data["recordings"]["test"]:
        lines += [f"Only {card['scored']} of the {data['recordings']['test']} test recordings were scored."]
    lines += [f"  note: {note}" for note in data.get("notes", [])]
    if "training_s" in card:
        lines += [
            f"Training: {card['epochs']} epochs in {card['training_s']:.0f} s, {card['parameters']:,} parameters."
        ]
    lines += [
        f"Run: {folder} (card.json, figures/, audio/, checkpoints/)",
        f"Look and listen: tensorboard --logdir {folder}",
    ]
    return "\n".join(lines)
