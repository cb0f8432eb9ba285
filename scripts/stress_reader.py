"""A process that loads checkpoints, watched: what it is told, what it does, how long and in how much memory."""

from __future__ import annotations

import json
import os
import resource
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

LIMIT_S, LIMIT_MB = 10, 2000  # of a refusal
FORBIDDEN = (
    "os.", "subprocess.", "socket.", "urllib.", "ctypes.", "pickle.", "shutil.", "pty.", "webbrowser.", "ftplib.",
)  # fmt: skip
ALLOWED = ("os.listdir", "os.scandir", "os.walk", "os.fwalk")  # searching for modules


class Reader:
    """A process that loads checkpoints and says what happened; begun anew when it dies or hangs.

    Args:
        whole: checkpoints that it can load, which imports what is needed.
    """

    def __init__(self, whole: list[Path]) -> None:
        self.whole, self.process = whole, self._start(whole)

    @staticmethod
    def _start(whole: list[Path]) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, __file__, *whole], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise SystemExit("the reader of checkpoints does not load whole ones")
        return process

    def load(self, path: Path) -> dict[str, Any]:
        """What came of loading `path`."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{path}\n")
        self.process.stdin.flush()
        hung = not select.select([self.process.stdout], [], [], 2 * LIMIT_S)[0]
        line = "" if hung else self.process.stdout.readline()
        if line:
            return dict(json.loads(line))
        self._end()
        code = self.process.returncode
        self.process = self._start(self.whole)
        return {"fault": f"took more than {2 * LIMIT_S} s" if hung else f"ended the reader with code {code}"}

    def _end(self) -> None:
        self.process.kill()
        self.process.communicate()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()


def serve(whole: list[str]) -> None:
    """The reader: load each path that is read, write what happened, and note what a file should not be able to do."""
    import speechml
    from speechml.errors import UserError

    for path in whole:
        speechml.load(path)  # imports what is needed
    seen: list[str] = []

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        if event.startswith(FORBIDDEN) and event not in ALLOWED:
            seen.append(f"{event}{arguments}")
        elif event == "exec" and not str(getattr(arguments[0], "co_filename", "")).endswith(".py"):
            seen.append(f"exec of {getattr(arguments[0], 'co_filename', arguments[0])}")

    print("ready", flush=True)
    resource.setrlimit(resource.RLIMIT_AS, (memory("VmSize") + 3 * LIMIT_MB << 20,) * 2)
    sys.addaudithook(note)
    for line in sys.stdin:
        answer: dict[str, Any] = {}
        Path("/proc/self/clear_refs").write_text("5")  # the peak is measured anew
        begin, before = time.monotonic(), memory("VmRSS")
        seen.clear()
        try:
            speechml.load(line.rstrip("\n"))
        except UserError as error:
            answer["refused"] = str(error)
        except BaseException as error:
            answer["fault"] = f"raised {type(error).__name__}: {error}"
        answer |= {"seen": list(seen), "s": time.monotonic() - begin, "mb": memory("VmHWM") - before}
        print(json.dumps(answer), flush=True)


def memory(name: str) -> int:
    """A figure of /proc/self/status in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{name}:"))) >> 10


if __name__ == "__main__":
    serve(sys.argv[1:])
