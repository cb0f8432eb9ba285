"""TensorBoard over runs: each under a name that says how it differs, in a folder that is gone when TensorBoard is."""

from __future__ import annotations

import contextlib
import io
import signal
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from speechml.errors import UserError, echo
from speechml.report import tensorboard_compat
from speechml.runs.card import HEADLINES
from speechml.runs.catalogue import is_run
from speechml.runs.labels import LabelledRun, label_runs
from speechml.runs.sweep_record import list_runs
from speechml.storage.plain_files import plain_files

HOST = "127.0.0.1"  # recordings are nobody else's business
EVENTS = "events.out.tfevents.*"
FIRST = "events.out.tfevents.0.shown"  # read before a run's own, so that what it says of settings counts
KEYS = 3  # settings that HPARAMS has columns of, those of the most values: with more the scores would be out of sight
TAIL = 1 << 18  # bytes at the end of an event file, where the final scores are
LOOK_S = 5  # between two looks at what runs there are


def serve(folders: Sequence[Path], port: int | None) -> None:
    """Show runs, also those that begin meanwhile, until a signal ends the process.

    Args:
        folders: of runs, of a sweep, or with runs at any depth.
        port: to listen on; None: the first free one from 6006.

    Raises:
        UserError: no run, or a port that is taken.
    """
    runs = begun_runs(folders)
    with contextlib.suppress(KeyboardInterrupt), contextlib.ExitStack() as stack:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # which nohup asks for
                stack.callback(signal.signal, number, signal.signal(number, signal.default_int_handler))
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="speechml-tensorboard-")))
        links = RunLinks(place)
        links.update(runs)
        address = _start_server(place, port)
        count = f"{len(links.names)} run{'s' * (len(links.names) != 1)}"
        echo(f"TensorBoard shows {count}: {address} (Ctrl-C ends it)", flush=True)
        while True:
            time.sleep(LOOK_S)
            with contextlib.suppress(UserError):  # all runs may be removed while they are shown
                links.update(begun_runs(folders))


def begun_runs(folders: Sequence[Path]) -> list[Path]:
    """The folders of runs that have begun, each once."""
    runs = [run.folder for folder in folders for run in list_runs(folder)]
    return list({run.resolve(): run for run in runs if is_run(run)}.values())


class RunLinks:
    """A folder in `place` for each run, named by what differs, with its settings and links to its event files.

    A run keeps the name under which it was first shown.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.names: dict[Path, str] = {}  # by folder of the run

    def update(self, folders: Sequence[Path]) -> None:
        """Link runs that are new, and event files that are."""
        runs = label_runs(folders)
        columns = _columns(runs)
        for name, run in runs.items():
            if run.folder not in self.names:
                taken = name in self.names.values()
                self.names[run.folder] = f"{name} {run.folder.name}" if taken else name
            own = self.place / self.names[run.folder]
            if not own.is_dir():
                own.mkdir(parents=True)
                told = [columns, tensorboard_compat.session_start(run.settings)]
                if run.card.state == "done" and not _has_final_scores(run.folder):
                    told.append(final_scores(run.card.scores))
                write_events(own / FIRST, told)
            for file in plain_files(run.folder, EVENTS):
                if not (own / file).is_symlink():
                    (own / file).symlink_to((run.folder / file).absolute())


def final_scores(scores: Mapping[str, float | None]) -> tensorboard_compat.Summary:
    """The summary of a run's final scores, as its events hold them."""
    values = {tensorboard_compat.FINAL + name: value for name, value in scores.items() if value is not None}
    part = tensorboard_compat.Summary.Value
    return tensorboard_compat.Summary(value=[part(tag=name, simple_value=value) for name, value in values.items()])


def write_events(path: Path, summaries: Sequence[tensorboard_compat.Summary]) -> None:
    """Write an event file that has these summaries alone."""
    from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[import-untyped]
    from tensorboard.summary.writer.record_writer import RecordWriter  # type: ignore[import-untyped]

    with path.open("wb") as file:
        writer = RecordWriter(file)
        for event in (Event(file_version="brain.Event:2"), *(Event(summary=summary) for summary in summaries)):
            writer.write(event.SerializeToString())


def _has_final_scores(folder: Path) -> bool:
    """Whether a run's events have its final scores under the name of today: older ones had them before the curves."""
    for name in plain_files(folder, EVENTS):
        with (folder / name).open("rb") as file:
            file.seek(max(0, file.seek(0, io.SEEK_END) - TAIL))
            if tensorboard_compat.FINAL.encode() in file.read():
                return True
    return False


def _columns(runs: Mapping[str, LabelledRun]) -> tensorboard_compat.Summary:
    """The columns of HPARAMS: KEYS of the settings that differ, and the final scores, first the one that stands for a run."""
    settings: dict[str, list[tensorboard_compat.Value]] = {}
    scores: dict[str, None] = {}
    for run in runs.values():
        for key, value in run.settings.items():
            settings.setdefault(key, []).append(value)
        scores |= dict.fromkeys(run.card.headlines or [name for name in HEADLINES if name in run.card.scores])
    most = sorted(settings, key=lambda key: -len(set(map(str, settings[key]))))[:KEYS]
    settings = {key: values for key, values in settings.items() if key in most}
    return tensorboard_compat.experiment_columns(settings, sorted(scores, key=lambda name: name not in HEADLINES))


def _start_server(place: Path, port: int | None) -> str:
    """Serve the runs in a folder from a thread of this process, and return the address."""
    from tensorboard.program import TensorBoard, TensorBoardServerException  # type: ignore[import-untyped]

    server = TensorBoard()
    words = [
        "--logdir",
        str(place),
        "--host",
        HOST,
        *(["--port", str(port)] if port else []),
        "--window_title",
        "speechml",
    ]
    server.configure(argv=["tensorboard", *words])
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # a note on how it reads files
            return str(server.launch())
    except TensorBoardServerException as error:
        raise UserError("TensorBoard did not start", why=str(error), fix="--port gives it another port") from error
