"""Packages that import a class when its name is first used: a run loads only what its config names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module


def import_on_use(package: str, places: Mapping[str, str]) -> Callable[[str], type]:
    """Give the `__getattr__` of a package.

    Args:
        package: its name.
        places: the module that each of its classes lies in, by the name of the class.
    """

    def import_attribute(name: str) -> type:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        attribute: type = getattr(import_module(places[name]), name)
        return attribute

    return import_attribute
