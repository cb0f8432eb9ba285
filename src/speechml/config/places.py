"""The places of recordings that a user has named to train on, which a checkpoint may then name again."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

from speechml.config.schema import data_keys, leaves, schema_of
from speechml.contracts import Config


def named_places(node: Config) -> list[str]:
    """The files and folders that a data node names, but for the cache; of a class of the user's own any text may be one."""
    known = data_keys(node.get("_target_")) if schema_of(node.get("_target_")) else {}
    values = [value for name, value in node.items()
              if name not in ("_target_", "cache") and (not known or known[name].is_path)]  # fmt: skip
    return [leaf for leaf in leaves(values) if isinstance(leaf, str)]


def place_mark(cache: str, place: str) -> Path:
    """A file that is there when somebody here has trained on the recordings of a place."""
    name = hashlib.sha256(place.encode(errors="surrogateescape")).hexdigest()[:16]
    return Path(cache).expanduser() / "trained_on" / name


def remember_places(config: Config) -> None:
    """Remember what the user has named to train on, so that a run may name it again."""
    for place in named_places(config["data"]):
        with suppress(OSError):
            mark = place_mark(str(config["paths"]["cache"]), place)
            if not mark.exists():
                mark.parent.mkdir(parents=True, exist_ok=True)
                mark.touch()
