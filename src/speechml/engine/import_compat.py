"""Parts of torch and torchmetrics that Lightning imports, few runs use, and that took half of the time to the first step.

Each is the real package, found and laid out as ever, whose own code runs when more is asked of it than the few names here.
Without this file everything works as before, and starts later; so it does of a package that does not have these names.
Its code runs in `import_running`, once, whichever threads ask. Finders run nothing: Python locks all imports while it asks them.
"""

from __future__ import annotations

import functools
import logging
import re
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import FunctionType, ModuleType

running: dict[str, int] = {}  # by the name of a module the thread that runs its code
_lending = threading.local()  # has packages that give this thread a name: what that imports does not run them halfway
to_disable: list[Callable[[], None]] = []


@dataclass(frozen=True)
class Deferral:
    """What is had of a package whose own code has not run.

    Attributes:
        names: what gives an attribute, by its name.
        submodules: those, as "package.module.", and what is below them, that need nothing of their package.
    """

    names: dict[str, Callable[[], object]] = field(default_factory=dict)
    submodules: tuple[str, ...] = ()


class DeferredModule(ModuleType):
    """A module whose code runs when a name is asked of it that its Deferral does not have."""

    def __getattribute__(self, name: str) -> object:
        if not name.startswith("__") and running.get(self.__name__, me := threading.get_ident()) != me:
            run_module(self)  # another thread does: wait for it
            if not isinstance(self, DeferredModule):
                return getattr(self, name)
        return ModuleType.__getattribute__(self, name)

    def __getattr__(self, name: str) -> object:
        own = self.__name__  # while this thread runs its code, it has what it has, as any module halfway
        if name != "__path__" and running.get(own) != threading.get_ident():  # asked by each import; a package has it
            if lend := DEFERRALS[own].names.get(name):
                outer, vars(_lending)[own] = vars(_lending).get(own), True
                try:
                    return lend()
                except (ImportError, AttributeError):
                    pass  # in another version it is elsewhere, which the package itself knows
                finally:
                    vars(_lending)[own] = outer
            run_module(self)
            if not isinstance(self, DeferredModule):
                return getattr(self, name)
        raise AttributeError(f"module {own!r} has no attribute {name!r}", name=name, obj=self)

    def __setattr__(self, name: str, value: object) -> None:
        """Set what its own code would else set back, when it runs."""
        is_kept = name == "deterministic"  # see `import_running`
        if not (is_kept or name.startswith("__") or isinstance(value, ModuleType)):
            run_module(self)
            if not isinstance(self, DeferredModule):
                return setattr(self, name, value)  # torch's settings are then of a class of their own
        return ModuleType.__setattr__(self, name, value)


class _KeepUnrun(Loader):
    """Loads a module without running it; later its own loader does."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self.loader
        module.__class__ = DeferredModule


class _AfterPackage(Loader):
    """The loader of that name in `import_running`, which is imported when it is used."""

    def __init__(self, loader: Loader, package: str) -> None:
        self.loader, self.package = loader, package

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        from speechml.engine.import_running import AfterPackage

        self.loader = AfterPackage(self.loader, self.package)
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)


class DeferringFinder(MetaPathFinder):
    """Finds the packages of DEFERRALS, and submodules that may need one to have run."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:  # noqa: ARG002
        package = next((package for package in DEFERRALS if _needs_run(package, name)), "")
        if not package and name not in DEFERRALS:
            return None
        spec = PathFinder.find_spec(name, path)
        if spec is None or spec.loader is None:
            return None
        if package:
            spec.loader = _AfterPackage(spec.loader, package)
        elif _has_names(spec, DEFERRALS[name]):
            spec.loader = _KeepUnrun(spec.loader)
        return spec


def _needs_run(package: str, name: str) -> bool:
    """Whether a submodule of that name is to be imported after the code of the package, which has not run."""
    if not name.startswith(f"{package}.") or f"{name}.".startswith(DEFERRALS[package].submodules):
        return False
    is_busy = package in running or vars(_lending).get(package)
    return isinstance(sys.modules.get(package), DeferredModule) and not is_busy


def _has_names(spec: ModuleSpec, deferral: Deferral) -> bool:
    """Whether the code of a package has the names that are given without it; another version may not."""
    try:
        code = Path(spec.origin or "").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False
    return all(re.search(rf"\b{name}\b", code) for name in deferral.names if not name.startswith("__"))


def run_module(module: ModuleType) -> None:
    """Run the code of a module, where that was put off, or wait for the thread that does."""
    name = module.__name__
    if (package := name.rpartition(".")[0]) in DEFERRALS and not DEFERRALS[package].names:
        run_module(sys.modules[package])  # first, as ever; it may run the module itself
    if isinstance(module, DeferredModule) and running.get(name) != threading.get_ident():
        from speechml.engine.import_running import run_once

        run_once(module)


def defer_imports() -> None:
    """Put off the packages of DEFERRALS from now on, those that this process has not loaded; for processes of our own."""
    if not any(isinstance(finder, DeferringFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, DeferringFinder())


def _has_run(name: str) -> bool:
    """Whether a module is there, and is no deferred one."""
    return not isinstance(sys.modules.get(name), (DeferredModule, type(None)))


class _OfCompiled(type):
    """Nothing is an OptimizedModule before the package that makes them has run."""

    def __instancecheck__(cls, instance: object) -> bool:
        return _has_run("torch._dynamo") and isinstance(instance, sys.modules["torch._dynamo"].OptimizedModule)


class OptimizedModule(metaclass=_OfCompiled):
    """What Lightning asks whether a network is: one that `torch.compile` has made."""


def _disable(function: object = None, *args: object, **options: object) -> object:
    """`torch._dynamo.disable`: until something can be traced there is nothing to keep out, and the function is called itself."""
    if _has_run("torch._dynamo") or not isinstance(function, FunctionType):
        return _run("torch._dynamo").disable(function, *args, **options)
    call: Callable[..., object] = function

    @functools.wraps(function)
    def call_untraced(*values: object, **named: object) -> object:
        return call(*values, **named)

    def disable_now() -> None:
        nonlocal call
        call = sys.modules["torch._dynamo"].disable(function, *args, **options)

    to_disable.append(disable_now)
    if _has_run("torch._dynamo"):  # meanwhile, by another thread
        import_module("speechml.engine.import_running").disable_all()
    return call_untraced


def _metrics(name: str) -> object:
    import_module("torchmetrics.utilities")  # first, as it and torchmetrics.metric import one another
    return getattr(import_module(f"torchmetrics.{name}"), {"metric": "Metric", "collections": "MetricCollection"}[name])


def _plot(*args: object, **options: object) -> object:
    return _run("torchmetrics.utilities.plot").plot_single_or_multi_val(*args, **options)


def _run(name: str) -> ModuleType:
    """A module, its code run."""
    run_module(module := import_module(name))
    return module


# By the time that importing them took of 3.7 s in all: torch._dynamo 0.8 s, torchmetrics 0.7 s, matplotlib for its plots 0.4 s.
DEFERRALS = {
    "torch._dynamo": Deferral({"OptimizedModule": lambda: OptimizedModule, "disable": lambda: _disable,
                               "graph_break": lambda: lambda *_, **__: None}),
    "torch._inductor": Deferral(submodules=("torch._inductor.config.",)),
    "torch._inductor.config": Deferral(),
    "torchmetrics": Deferral(
        {"Metric": lambda: _metrics("metric"), "MetricCollection": lambda: _metrics("collections"),
         "_logger": lambda: logging.getLogger("torchmetrics"),
         "__version__": lambda: import_module("torchmetrics.__about__").__version__},
        tuple(f"torchmetrics.{name}." for name in ("__about__", "metric", "collections", "utilities")),
    ),
    "torchmetrics.utilities.plot": Deferral({  # as torchmetrics has them without matplotlib
        "_AX_TYPE": lambda: object, "_PLOT_OUT_TYPE": lambda: tuple[object, object],
        "plot_single_or_multi_val": lambda: _plot,
    }),
}  # fmt: skip
