"""Where Python finds the user's own modules, and that it is those which it finds."""

from __future__ import annotations

import contextlib
import importlib
import sys
from pathlib import Path

from speechml.config.instantiate import conf_folders, user_modules
from speechml.errors import UserError

added: list[str] = []  # folders that sys.path has for their sake
loaded: dict[str, Path] = {}  # the modules that this process has asked for, by name


def find(name: str, path: Path) -> None:
    """Let Python find a module of the user's, in the folders that $SPEECHML_CONF names now, in their order."""
    _add_folders()
    loaded[name] = path


def _add_folders() -> None:
    folders = [str(folder) for folder in conf_folders()]
    if folders == added and set(folders) <= set(sys.path):
        return
    forget_user_modules()
    added.extend(folders)
    sys.path.extend(folders)  # after all else: a file of theirs stands for nothing that others import


def forget_user_modules() -> None:
    """Let the user's own modules be found and read again when they are next named: they may be edited, or others by now."""
    importlib.invalidate_caches()
    for name, path in [*user_modules().items(), *loaded.items()]:
        if (file := getattr(sys.modules.get(name), "__file__", None)) and Path(file).resolve() == path.resolve():
            for part in [one for one in sys.modules if one == name or one.startswith(f"{name}.")]:
                del sys.modules[part]
    for folder in added:
        if folder in sys.path:  # at its end; further ahead it may be the user's
            del sys.path[len(sys.path) - 1 - sys.path[::-1].index(folder)]
    loaded.clear()
    added.clear()


def check_origin(name: str, path: Path, target: str) -> None:
    """Raises UserError where Python has another module of the name of the user's: its class would be built unseen."""
    origin = getattr(sys.modules.get(name), "__file__", None)
    if origin is None or Path(origin).resolve() == path.resolve():
        return
    is_equal = False
    with contextlib.suppress(OSError):  # within an archive, or gone
        is_equal = path.name != "__init__.py" and Path(origin).read_bytes() == path.read_bytes()
    if not is_equal:
        why = f"Python finds another {name} first, {origin}"
        raise UserError(f"{target} is not of {path}", why, "give your file another name")
