"""TensorBoard over runs: each under a name that says how it differs, in a folder that is gone when TensorBoard is."""

from __future__ import annotations

import contextlib
import io
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from speechml.errors import UserError
from speechml.report import tensorboard_compat
from speechml.runs.card import HEADLINES
from speechml.runs.catalogue import is_run
from speechml.runs.labels import LabelledRun, label_runs
from speechml.runs.sweep_record import list_runs

HOST = "127.0.0.1"  # recordings are nobody else's business
EVENTS = "events.out.tfevents.*"
FIRST = "events.out.tfevents.0.shown"  # read before a run's own, so that what it says of settings counts
PORTS = range(6006, 6106)  # TensorBoard's own, and those after it
LOOK_S = 5  # between two looks at what runs there are


def serve(folders: Sequence[Path], port: int | None) -> None:
    """Show runs, also those that begin meanwhile, until a signal ends it.

    Args:
        folders: of runs, of a sweep, or with runs at any depth.
        port: to listen on; None: the first free one from 6006.

    Raises:
        UserError: no run, or a port that is taken.
    """
    runs, port = begun_runs(folders), free_port(port)
    with _until_a_signal(), tempfile.TemporaryDirectory(prefix="speechml-tensorboard-") as place:
        links = RunLinks(Path(place))
        links.update(runs)
        address = _start_server(Path(place), port)
        count = f"{len(links.names)} run{'s' * (len(links.names) != 1)}"
        print(f"TensorBoard shows {count}: {address} (Ctrl-C ends it)", flush=True)
        while True:
            time.sleep(LOOK_S)
            with contextlib.suppress(UserError):  # all runs may be removed while they are shown
                links.update(begun_runs(folders))


def begun_runs(folders: Sequence[Path]) -> list[Path]:
    """The folders of runs that have begun, each once."""
    found = [run.folder for folder in folders for run in list_runs(folder)]
    return list({run.resolve(): run for run in found if is_run(run)}.values())


class RunLinks:
    """A folder for each run, named by what differs, with its settings and links to its event files.

    A run keeps the name under which it was first shown.

    Args:
        place: folder for them.
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
                start = tensorboard_compat.session_start(run.settings)
                tensorboard_compat.write_events(own / FIRST, [columns, start])
            for path in run.folder.glob(EVENTS):
                if not (own / path.name).is_symlink():
                    (own / path.name).symlink_to(path.absolute())


def _columns(runs: Mapping[str, LabelledRun]) -> tensorboard_compat.Summary:
    """The columns of HPARAMS: the settings that differ, and the final scores, first the one that stands for a run."""
    settings: dict[str, list[tensorboard_compat.Value]] = {}
    places: dict[str, int] = {}
    for run in runs.values():
        for key, value in run.settings.items():
            settings.setdefault(key, []).append(value)
        names = run.card.headlines or [name for name in HEADLINES if name in run.card.scores]
        for rank, name in enumerate(names):
            places[name] = min(-1 if name in HEADLINES else rank, places.get(name, rank))
    return tensorboard_compat.experiment_columns(settings, sorted(places, key=lambda name: places[name]))


def _start_server(place: Path, port: int) -> str:
    """Serve the runs in a folder from a thread of this process, and return the address."""
    from tensorboard.program import TensorBoard, TensorBoardServerException  # type: ignore[import-untyped]

    server = TensorBoard()
    words = ["--logdir", str(place), "--host", HOST, "--port", str(port), "--window_title", "speechml"]
    server.configure(argv=["tensorboard", *words])
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # a note on how it reads files
            return str(server.launch())
    except TensorBoardServerException as error:
        raise UserError("TensorBoard did not start", why=str(error)) from error


def free_port(port: int | None) -> int:
    """Find a port that nothing listens on.

    Raises:
        UserError: `port` is taken, or all that are tried where it is None.
    """
    for candidate in [port] if port is not None else PORTS:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, candidate))
            return int(probe.getsockname()[1])
    if port is not None:
        raise UserError(f"port {port} is taken or not allowed; give another, or leave out --port to have one chosen")
    raise UserError(f"the ports {PORTS[0]} to {PORTS[-1]} are all taken; give another with --port")


@contextlib.contextmanager
def _until_a_signal() -> Iterator[None]:
    """Inside, Ctrl-C, TERM and the end of the terminal lead to the end of the block, and a second one does nothing."""
    signals = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # which nohup asks for
        signals.append(signal.SIGHUP)

    def leave(number: int, frame: object) -> None:  # noqa: ARG001 (as signal handlers are called)
        for each in signals:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, leave) for number in signals}
    try:
        yield
    except KeyboardInterrupt:
        print(file=sys.stderr)
    finally:
        for number, old in before.items():
            signal.signal(number, old)
