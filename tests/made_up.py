"""Finished runs made up of a card, a config and predictions, whose scores are known."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml


def make_run(
    runs: Path, seed: int = 0, experiment: str = "made_up", data: dict[str, Any] | None = None, state: str = "done",
    snr: np.ndarray | None = None, logits: np.ndarray | None = None, label: np.ndarray | None = None,
    classes: tuple[str, ...] = ("no", "yes", "stop"), names: list[str] | None = None,
    columns: dict[str, np.ndarray] | None = None, **keys: Any,
) -> Path:  # fmt: skip
    """A run of a denoiser with the SNR of each test recording, or of a classifier with logits and labels; or without a test."""
    folder = runs / experiment / f"{len(list(runs.glob('*/*'))):010d}"
    folder.mkdir(parents=True)
    further, columns = columns or {}, {}
    scores: dict[str, float] = {}
    if snr is not None:
        columns = {name: snr + shift for name, shift in (("snr_db", 0), ("si_sdr_db", -1), ("mse", 9), ("l1", 5))}
        columns |= {name: np.ones(len(snr)) for name in ("snr_input_db", "si_sdr_input_db", "mse_input", "l1_input")}
        scores = {f"test/{name}": float(column.mean()) for name, column in columns.items()}
    elif logits is not None and label is not None:
        columns = {"logits": logits, "label": label, "classes": np.array(classes)}
        right = logits.argmax(1) == label
        scores = {"test/acc": float(right.mean()), "test/macro_f1": float(right.mean()), "test/loss": 0.5}
    if columns:
        count = len(columns.get("snr_db", columns.get("label", [])))
        np.savez(
            folder / "predictions.npz",
            name=np.array(names or [f"item{i:04d}" for i in range(count)]),
            **columns,
            **further,
        )
    card = {
        "id": folder.name, "experiment": experiment, "state": state, "seed": seed, "scores": scores,
        "overrides": [f"seed={seed}"], "started": "2026-01-01T00:00:00", "training_s": 1.0,
        "epochs": 3, "parameters": 10, "scored": 4, "published": {},
        "code": {"version": "1", "commit": "a", "dirty": False}, "hardware": {"host": "x"}, "command": "speechml-train",
        "data": {"data": "MadeUp", "protocol": "speaker", "called": "recordings", "test_fingerprint": "aa", "fingerprint": "bb",
                 "recordings": {"train": 9, "val": 4, "test": 4}, "seconds": {}, "notes": [], **(data or {})},
    }  # fmt: skip
    (folder / "card.json").write_text(json.dumps(card))
    (folder / "config.yaml").write_text(yaml.safe_dump({"seed": seed, "optimizer": {"lr": 0.1, **keys}}))
    (folder / "metrics.csv").write_text("epoch,step,train/loss,val/loss\n0,1,0.5,0.6\n1,2,0.4,0.5\n2,3,0.3,nan\n")
    return folder
