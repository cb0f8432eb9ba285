"""What is said to the person at the keyboard: exceptions with a sentence, and text that steers no terminal."""

from __future__ import annotations

import difflib
import errno
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO, TypeVar

T = TypeVar("T")

# What is imported of the extras of pyproject.toml, by package. PESQ and STOI are left out where they are not installed.
EXTRAS = {"optuna": "search", "pyloudnorm": "music", "safetensors": "export", "wandb": "trackers", "mlflow": "trackers"}


def printable(text: str, exact: bool = False) -> str:
    """Text on one line: what would steer a terminal, or hide letters, is shown as Python writes it, as `\\x1b`.

    Args:
        text: anybody's.
        exact: keep blanks of any width, as names of files may hold them that another program is to find.
    """
    if text.isprintable():
        return text
    kept = (letter.isprintable() or (exact and unicodedata.category(letter) == "Zs") for letter in text)
    return "".join(a if keep else a.encode("unicode_escape").decode() for a, keep in zip(text, kept, strict=True))


def reason(error: Exception) -> str:
    """What an error says, on one line; of the system's without their number and path."""
    return " ".join(str((isinstance(error, OSError) and error.strerror) or error).split())


def echo(text: object, file: TextIO | None = None, end: str = "\n", flush: bool = False, exact: bool = False) -> None:
    """Print lines of text, each as `printable`: names of files, labels and cards may be anybody's."""
    print("\n".join(printable(line, exact) for line in str(text).split("\n")), file=file, end=end, flush=flush)


class UserError(Exception):
    """Something given to speechml is wrong: printed as one sentence without a traceback, exit code 2.

    Args:
        what: what is wrong, and where.
        why: the reason, printed in brackets.
        fix: what to do, printed behind a semicolon.
    """

    def __init__(self, what: str, why: str = "", fix: str = "") -> None:
        super().__init__(what, why, fix)
        self.what, self.why, self.fix = what, why, fix

    def __str__(self) -> str:
        return printable(self.what + f" ({self.why})" * bool(self.why) + f"; {self.fix}" * bool(self.fix))

    def _render_traceback_(self) -> list[str]:  # what a notebook shows instead of a traceback
        return [f"error: {self}"]


class MachineError(UserError):
    """A disk, a file server or a limit of the system has failed: the same command may go well later."""


# What helps against errors of the machine.
FAILURES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "make room"),
    errno.EROFS: "make it writable",
    **dict.fromkeys((errno.EACCES, errno.EPERM), "see to its permissions"),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "raise the limit of open files (ulimit -n)"),
    **dict.fromkeys((errno.EIO, errno.ENXIO, errno.ENODEV, errno.EBUSY), "see to the disk"),
    **dict.fromkeys((errno.ESTALE, errno.ETIMEDOUT, errno.ENOLCK, errno.ENOTCONN), "see to the file server"),
}


def machine_failure(
    error: BaseException | None, place: Path | None = None, is_hidden: bool = False
) -> MachineError | None:
    """What a person reads of a failing disk or limit, also where it is the cause of another error; None of other errors.

    Args:
        error: that was raised.
        place: that could not be used; None: the file that the error names.
        is_hidden: whether libraries may have raised another error while they handled it.
    """
    while error is not None and not (isinstance(error, OSError) and error.errno in FAILURES):
        error = error.__cause__ or (error.__context__ if is_hidden and not error.__suppress_context__ else None)
    if error is None:
        return None
    what, fix = place or error.filename or "a file", FAILURES[error.errno or 0]
    verb = "written to" if fix.startswith("make") else "used"
    return MachineError(f"{what} cannot be {verb}", str(error.strerror), f"{fix}, and the same command goes on")


class FolderBusy(UserError):
    """Another process holds the folder of a run or a sweep; it may be free later.

    Args:
        folder: that is held.
        owner: the process that holds it, as "process 12 on HOST".
        what: the sentence, where it is not about training.
        fix: what to do.
    """

    def __init__(
        self, folder: str, owner: str, what: str = "", fix: str = "wait for it, or change a key or the seed"
    ) -> None:
        super().__init__(what or f"{folder} is being trained by {owner}", fix=fix)
        self.args = (folder, owner, what, fix)  # as pickle makes it again in another process
        self.folder, self.owner = folder, owner


class UnusableData(UserError):
    """The data cannot be used, whatever is done with them."""


class UnknownScore(UserError):
    """What a search goes by is no score of its runs: no trial of it can have a value."""


class Pruned(Exception):
    """A run was stopped because other trials of its search did better at the same epoch."""


def closest(word: str, words: Iterable[str]) -> str:
    """The most similar of some words, or nothing where none is similar."""
    return next(iter(difflib.get_close_matches(word, list(words), n=1, cutoff=0.5)), "")


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """`; did you mean ...?` for the most similar of some words, or nothing where none is similar."""
    near = closest(word, words)
    return f"; did you mean {near}?" if near else ""


def choose(what: str, name: str, choices: Mapping[str, T]) -> T:
    """The choice of a name. ValueError, which lists the choices, where there is none."""
    if name not in choices:
        raise ValueError(f"{what} is {name!r}; it can be {', '.join(choices)}")
    return choices[name]


@contextmanager
def explain_missing_extras() -> Iterator[None]:
    """Inside, a package of an extra that is not installed is one sentence, which says how to install it.

    Raises:
        UserError: that sentence.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        if package not in EXTRAS:
            raise
        raise UserError(f"this needs {package}", fix=f"pip install 'speechml[{EXTRAS[package]}]'") from error
