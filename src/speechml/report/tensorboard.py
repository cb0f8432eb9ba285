"""TensorBoard over runs: each under a name that says how it differs, in a folder that is gone when TensorBoard is."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from speechml.errors import UserError
from speechml.report import tensorboard_compat
from speechml.runs.card import HEADLINES
from speechml.runs.settings import LabelledRun, label_runs
from speechml.runs.sweep_record import list_runs

HOST = "127.0.0.1"  # recordings are nobody else's business
EVENTS = "events.out.tfevents.*"
FIRST = "events.out.tfevents.0.shown"  # read before a run's own, so that what it says of settings counts
PORTS = range(6006, 6106)  # TensorBoard's own, and those after it
LOOK_S = 5  # between two looks at what runs there are
START_S = 60


def serve(folders: list[Path], port: int | None) -> None:
    """Show runs, also those that begin meanwhile, until a signal ends it.

    Args:
        folders: of runs, of a sweep, or with runs at any depth.
        port: to listen on; None: the first free one from 6006.

    Raises:
        UserError: no run, or a port that is taken.
    """
    runs = below(folders)
    port = free(port)
    with _until_a_signal(), tempfile.TemporaryDirectory(prefix="speechml-tensorboard-") as place:
        _serve(folders, runs, port, Path(place))


def below(folders: list[Path]) -> list[Path]:
    """The folders of runs that have begun, each once."""
    found = [run.folder for folder in folders for run in list_runs(folder)]
    return list({run.resolve(): run for run in found if (run / "card.json").is_file()}.values())


def _serve(folders: list[Path], runs: list[Path], port: int, place: Path) -> None:
    """Keep links to the runs in `place`, and TensorBoard on them; it is started anew where names or columns change."""
    server, seen = None, None
    known: dict[str, LabelledRun] = {}
    try:
        while True:
            if (now := _marks(runs)) != seen:
                before, known, seen = known, label_runs(runs), now
                fits = columns(known) == columns(before) and all(
                    name in known and known[name].folder == old.folder for name, old in before.items()
                )
                if server is None or not fits:
                    _stop(server)
                    shutil.rmtree(place / "runs", ignore_errors=True)
                    link(known, place / "runs")
                    server = _started(place, port)
                    said = "now: reload the page" if before else f"http://{HOST}:{port}/ (Ctrl-C ends it)"
                    count = f"{len(known)} run{'s' * (len(known) != 1)}"
                    print(f"TensorBoard shows {count}{' ' if before else ': '}{said}", flush=True)
                else:
                    link(known, place / "runs")
            time.sleep(LOOK_S)
            if server is not None and server.poll() is not None:
                raise UserError(f"TensorBoard ended by itself: {_last_words(place)}")
            with contextlib.suppress(UserError):  # all runs may be removed while they are shown
                runs = below(folders)
    finally:
        _stop(server)


def _marks(runs: list[Path]) -> dict[Path, list[Any]]:
    """What changes where a run begins, ends or has a further file of events."""
    found = {}
    for run in runs:
        with contextlib.suppress(OSError):
            events = sorted(path.name for path in run.glob(EVENTS))
            found[run] = [(run / "card.json").stat().st_mtime_ns, *events]
    return found


def columns(runs: dict[str, LabelledRun]) -> Any:
    """The columns of HPARAMS: the settings that differ, and the final scores, first the one that stands for a run."""
    settings: dict[str, list[Any]] = {}
    scores: dict[str, int] = {}
    for run in runs.values():
        for key, value in run.settings.items():
            settings.setdefault(key, []).append(value)
        for rank, name in enumerate(run.card.headlines or [n for n in HEADLINES if n in run.card.scores]):
            place = -1 if name in HEADLINES else rank
            scores[name] = min(place, scores.get(name, place))
    return tensorboard_compat.experiment_columns(settings, sorted(scores, key=lambda name: scores[name]))


def link(runs: dict[str, LabelledRun], place: Path) -> None:
    """A folder for each run, named as it is shown, with its settings and links to its files of events."""
    table = columns(runs)
    for name, run in runs.items():
        own = place / name
        if not own.is_dir():
            own.mkdir(parents=True)
            tensorboard_compat.write_events(own / FIRST, [table, tensorboard_compat.session_start(run.settings)])
        for path in run.folder.glob(EVENTS):
            if not (own / path.name).is_symlink():
                (own / path.name).symlink_to(path.absolute())


def _started(place: Path, port: int) -> subprocess.Popen[bytes]:
    """TensorBoard, when it answers."""
    words = ["--logdir", str(place / "runs"), "--host", HOST, "--port", str(port), "--window_title", "speechml"]
    with (place / "said.txt").open("wb") as said:
        server = subprocess.Popen(
            [sys.executable, "-m", "tensorboard.main", *words], stdin=subprocess.DEVNULL, stdout=said, stderr=said,
            start_new_session=True, env={**os.environ, "TMPDIR": str(place)},
        )  # fmt: skip  # a Ctrl-C is for this process, which ends it
    end = time.monotonic() + START_S
    while server.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
            return server
        time.sleep(0.05)
    _stop(server)
    raise UserError(f"TensorBoard did not start: {_last_words(place)}")


def _last_words(place: Path) -> str:
    lines = (place / "said.txt").read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it says nothing"


def _stop(server: subprocess.Popen[bytes] | None) -> None:
    if server is not None and server.poll() is None:
        server.terminate()
        try:
            server.wait(5)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def free(port: int | None) -> int:
    """A port that nothing listens on.

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
    asked = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # which nohup asks for
        asked.append(signal.SIGHUP)

    def leave(number: int, frame: Any) -> None:  # noqa: ARG001 (as signal handlers are called)
        for each in asked:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, leave) for number in asked}
    try:
        yield
    except KeyboardInterrupt:
        print(file=sys.stderr)
    finally:
        for number, old in before.items():
            signal.signal(number, old)
