"""What a tracker gets of a run, read from the plain files of the run's folder: Weights & Biases, MLflow.

It runs in a process of its own (speechml.worker), which `report.sending` starts: whatever a tracker or its server does,
no training waits for it. All that is sent may be sent again: a tracker that has a step is not given it twice.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import shutil
import sys
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from speechml.config.compose import without_secrets
from speechml.errors import UserError, reason
from speechml.report.sending import KEY
from speechml.runs.card import RunCard
from speechml.runs.catalogue import require_card
from speechml.runs.folder import JOURNAL, TRACKED
from speechml.runs.labels import load_config, result_settings
from speechml.storage.building import remove_leftovers
from speechml.storage.files import lock_file, new_part
from speechml.storage.plain_files import is_plain, read_json, read_plain

FINAL = "final/"  # before the names of the scores of a run that is done
FILES = ("card.json", "config.yaml", "scores.txt", "report.html")  # that go with a run that is done
MOST = 1 << 30  # bytes of a journal
BATCH = 1000  # metrics that MLflow takes at once
LONGEST = 500  # letters of a setting, in MLflow's database


class Row(NamedTuple):
    """What was logged at a step: `time` in s since 1970."""

    step: int
    time: float
    values: dict[str, float]


def read_rows(folder: Path, size: int | None = None) -> list[Row]:
    """What was logged of a run, one row a step: of its journal, before and without one of metrics.csv.

    Args:
        size: bytes of the journal that a checkpoint knows, whose last step may go on; None: all, of a run that has ended.
    """
    rows: dict[int, Row] = {}
    with suppress(FileNotFoundError):
        for line in read_plain(folder, JOURNAL, MOST)[:size].splitlines():
            row = Row(**json.loads(line))
            rows.setdefault(row.step, Row(row.step, row.time, {})).values.update(row.values)
    first = min(rows, default=None)
    if first is not None or size is None:
        rows |= {row.step: row for row in _table_rows(folder) if first is None or row.step < first}
    ordered = [rows[step] for step in sorted(rows)]
    return ordered if size is None else ordered[:-1]


def _table_rows(folder: Path) -> list[Row]:
    rows = []
    with suppress(OSError, csv.Error, ValueError, TypeError):
        seconds = (folder / "metrics.csv").stat().st_mtime
        for cells in csv.DictReader(io.StringIO(read_plain(folder, "metrics.csv").decode(), newline="")):
            step = int(cells.pop("step"))
            rows.append(
                Row(step, seconds, {name: float(text) for name, text in cells.items() if text and name != "epoch"})
            )
    return rows


class Mlflow:
    """A run at MLflow, found again by a tag. Its database may be of this machine, or behind a server.

    Args:
        folder: of the run.
        key: its name there.
    """

    def __init__(self, folder: Path, key: str, card: RunCard) -> None:
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # else it is minutes until a refusal is one
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient

        self.folder = folder
        own = folder.parents[1].absolute() / ".mlflow"
        self.place = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{own / 'mlflow.db'}"
        self.own = own if self.place.startswith(f"sqlite:///{own}") else None
        with self._alone():
            self.client = MlflowClient(self.place)
            experiment = self._experiment(card.experiment)
            found = self.client.search_runs([experiment], f"tags.`speechml.run` = '{key}'", max_results=1)
            self.id = found[0].info.run_id if found else self.client.create_run(
                experiment, _milliseconds(card.started), {"speechml.run": key}, f"{card.experiment}/{card.id}"
            ).info.run_id  # fmt: skip
            self.client.update_run(self.id, status="RUNNING")
            data = self.client.get_run(self.id).data
            self.there = {
                (name, one.step) for name in data.metrics for one in self.client.get_metric_history(self.id, name)
            }
            self._describe(card, data.params)

    def _alone(self) -> AbstractContextManager[None]:
        """Inside, no other run of ours uses the database beside the runs: both would make its tables, or find it locked."""
        return lock_file(self.own / ".lock") if self.own else nullcontext()

    def _experiment(self, name: str) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or name
        if found := self.client.get_experiment_by_name(name):
            return str(found.experiment_id)
        return str(self.client.create_experiment(name, (self.own / "artifacts").as_uri() if self.own else None))

    def _describe(self, card: RunCard, known: Mapping[str, str]) -> None:
        from mlflow.entities import Param, RunTag

        tags = {"mlflow.note.content": card.note or "", "tags": ", ".join(card.tags or []), "command": card.command}
        config = load_config(self.folder)
        settings = {"seed": card.seed, **result_settings(config)}
        texts = {_allowed(name): str(value)[:LONGEST] for name, value in without_secrets(settings).items()}
        params = [Param(name, text) for name, text in texts.items() if name not in known]
        shown = [RunTag(name, text[: 10 * LONGEST]) for name, text in without_secrets(tags).items()]
        for first in range(0, len(params), 100):  # as many as it takes at once
            self.client.log_batch(self.id, params=params[first : first + 100])
        self.client.log_batch(self.id, tags=shown)

    def send(self, rows: list[Row]) -> None:
        """Add rows, of growing steps; what is there already is not given again."""
        from mlflow.entities import Metric

        metrics = [
            Metric(_allowed(name), value, round(row.time * 1000), row.step) for row in rows
            for name, value in row.values.items() if (_allowed(name), row.step) not in self.there
        ]  # fmt: skip
        for first in range(0, len(metrics), BATCH):
            part = metrics[first : first + BATCH]
            with self._alone():
                self.client.log_batch(self.id, metrics=part)
            self.there.update((one.key, one.step) for one in part)

    def end(self, card: RunCard) -> str:
        """Say how the run has ended, with its scores if it is done; where it can be seen."""
        state = {"done": "FINISHED", "failed": "FAILED"}.get(card.state, "KILLED")
        if card.state == "done":
            last = max((step for _, step in self.there), default=0)
            self.send([Row(last, time.time(), final_scores(card))])
        with self._alone():
            for name in FILES if card.state == "done" else ():
                if is_plain(self.folder, name):
                    self.client.log_artifact(self.id, str(self.folder / name))
            self.client.set_terminated(self.id, state, _milliseconds(card.ended))
        return f"run {self.id} at {self.place}"


def _allowed(name: str) -> str:
    """A name with the letters that MLflow takes."""
    return re.sub(r"[^\w./ -]", "_", name)


def _milliseconds(text: str | None) -> int | None:
    """A time of a card, in ms since 1970."""
    with suppress(ValueError):
        return round(datetime.fromisoformat(str(text)).timestamp() * 1000)
    return None


class Wandb:
    """A run at Weights & Biases: written to wandb/ in the run's folder, or at a server where WANDB_MODE is online.

    A file is always written whole, from the first step: what a killed process has left of one counts for nothing. A server
    says which steps it has.

    Args:
        folder: of the run.
        key: its name there.
    """

    def __init__(self, folder: Path, key: str, card: RunCard) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        self.folder = folder
        os.environ.setdefault("WANDB_MODE", "offline")
        place = folder.parents[1] / ".wandb"
        place.mkdir(parents=True, exist_ok=True)
        self.part = new_part(place / key)
        self.part.mkdir()
        remove_leftovers(place, self.part)
        quiet = wandb.Settings(
            silent=True, console="off", symlink=False, disable_git=True, disable_code=True, x_disable_stats=True
        )
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or "speechml", group=card.experiment, id=key, resume="allow",
            name=f"{card.experiment}/{card.id}", tags=card.tags or [], notes=without_secrets(card.note or ""),
            config=without_secrets(load_config(folder)), dir=str(self.part), settings=quiet,
        )  # fmt: skip
        self.next = self.run.starting_step

    def send(self, rows: list[Row]) -> None:
        """Add rows, as `Mlflow.send`."""
        for row in rows:
            if row.step >= self.next:
                self.run.log(row.values, step=row.step)
                self.next = row.step + 1

    def end(self, card: RunCard) -> str:
        """Say how the run has ended, as `Mlflow.end`."""
        if card.state == "done":
            self.run.summary.update(final_scores(card))
            for name in FILES:
                if is_plain(self.folder, name) and name != "config.yaml":  # it has one of its own
                    shutil.copy(self.folder / name, self.run.dir)
        self.run.finish(exit_code=int(card.state != "done"))
        where = str(self.run.url or self.run.id)
        for written in self.part.glob("wandb/offline-run-*"):
            for noise in ("logs", "tmp"):  # with a link out of the folder
                shutil.rmtree(written / noise, ignore_errors=True)
            shutil.rmtree(self.folder / "wandb", ignore_errors=True)
            written.parent.rename(self.folder / "wandb")
            where = f"wandb sync {self.folder / 'wandb' / written.name} sends it to a server"
        shutil.rmtree(self.part, ignore_errors=True)
        return where


TRACKERS: Mapping[str, type[Wandb] | type[Mlflow]] = {"wandb": Wandb, "mlflow": Mlflow}


def final_scores(card: RunCard) -> dict[str, float]:
    """The scores of a run that is done, by names that no curve has."""
    return {FINAL + name: value for name, value in card.scores.items() if value is not None and math.isfinite(value)}


def run_key(folder: Path) -> str:
    """The name of a run at trackers, which may be part of a path. Raises UserError where there is none."""
    try:
        key = str(dict(read_json(folder, TRACKED))["key"])  # type: ignore[call-overload] # whatever it is
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise UserError(f"{folder / TRACKED} cannot be read", reason(error), "delete it") from error
    if not KEY.fullmatch(key):
        raise UserError(f"{folder / TRACKED} has no name of a run", fix="delete it")
    return key


def track(folder: Path, name: str) -> int:
    """Send a run to a tracker, as lines of standard input say: the size of the journal to send, and `end` at the end.

    Where they end otherwise, the training was killed, and goes on another time. The last line of standard output says where
    the run is, or, with exit code 1, what went wrong.
    """
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    tracker: Wandb | Mlflow | None = None
    try:
        for line in sys.stdin:
            tracker = tracker or TRACKERS[name](folder, run_key(folder), require_card(folder))
            size, *end = line.split()
            card = require_card(folder)
            tracker.send(read_rows(folder, None if end and card.state == "done" else int(size)))
            if end:
                print(tracker.end(card), file=answer, flush=True)
                os._exit(0)  # whatever threads a tracker has left
    except Exception as error:  # of a package of others, and its server
        print(f"{type(error).__name__}: {reason(error)}"[:LONGEST], file=answer, flush=True)
        os._exit(1)
    return 1
