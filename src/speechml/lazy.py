"""Packages that import a class when its name is first used: a run loads only what its config names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType


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


class CalledModule(ModuleType):
    """A module that is called as the function of `speechml.api` that has its name, and that its import would hide."""

    def __call__(self, *args: object, **options: object) -> object:
        return getattr(import_module("speechml.api"), self.__name__.rpartition(".")[2])(*args, **options)
