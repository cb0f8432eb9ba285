"""Processes of ours that help another one, and end with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

from speechml.process import SIGNALS


def start_worker(kind: str, *words: str, **options: Any) -> subprocess.Popen[bytes]:
    """Start `python -m speechml.worker`, which ends with this process; signals wait until it can note them.

    Args:
        kind, words: of its command line, around the number of this process.
        options: of `subprocess.Popen`.
    """
    command = [sys.executable, "-P", "-u", "-m", "speechml.worker", kind, str(os.getpid()), *words]
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # which the other inherits: it is loading for seconds
    try:
        return subprocess.Popen(command, **options)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def end_with(parent: int) -> None:
    """Let a thread end this process as soon as `parent`, by its number, has ended, whatever ended it.

    Helpers of a killed process would else go on, and hold its locks.
    """
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.1)
    os._exit(1)
