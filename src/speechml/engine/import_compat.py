"""Parts of torch and torchmetrics that Lightning imports, few runs use, and that took half of the time to the first step.

Each is the real package, found and laid out as ever, whose own code runs when more is asked of it than the few names here.
Without this file everything works as before, and starts later.
"""

from __future__ import annotations

import functools
import logging
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import FunctionType, ModuleType

_lock = threading.RLock()  # of what runs a package's code: other threads wait for all of it
_lending: set[str] = set()  # packages, while they give a name: what that imports does not run them halfway
_to_disable: list[Callable[[], None]] = []


@dataclass(frozen=True)
class Deferral:
    """What is had of a package whose own code has not run.

    Attributes:
        names: what gives an attribute, by its name.
        submodules: those, as "package.module.", and what is below them, that need nothing of their package.
        after: is called when the package has run.
    """

    names: dict[str, Callable[[], object]] = field(default_factory=dict)
    submodules: tuple[str, ...] = ()
    after: Callable[[], None] = lambda: None


class DeferredModule(ModuleType):
    """A module whose code runs when a name is asked of it that its Deferral does not have."""

    def __getattr__(self, name: str) -> object:
        deferral = DEFERRALS[self.__name__]
        if name in deferral.names:
            _lending.add(self.__name__)
            try:
                return deferral.names[name]()
            finally:
                _lending.discard(self.__name__)
        if name == "__path__":  # asked by each import; a package has it
            raise AttributeError(name)
        run_module(self)
        return getattr(self, name)  # torch's settings are then of a class of their own

    def __setattr__(self, name: str, value: object) -> None:
        """Set what its own code would else set back, when it runs."""
        if not (
            name.startswith("__") or name == "deterministic" or isinstance(value, ModuleType)
        ):  # see _keep_deterministic
            run_module(self)
        super().__setattr__(name, value)


class _KeepUnrun(Loader):
    """Loads a module without running it; later its own loader does."""

    def __init__(self, loader: Loader) -> None:
        self.loader = loader

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self.loader
        module.__class__ = DeferredModule


class _AsLoaded(Loader):
    """Gives a module that is there."""

    def __init__(self, module: ModuleType) -> None:
        self.module, self.spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:  # noqa: ARG002
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec


class DeferringFinder(MetaPathFinder):
    """Finds the packages of DEFERRALS, and runs one before a submodule is imported that may need it."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:  # noqa: ARG002
        for package, deferral in DEFERRALS.items():
            if name.startswith(f"{package}.") and not (
                package in _lending or f"{name}.".startswith(deferral.submodules)
            ):
                run_module(sys.modules[package])
                if (loaded := sys.modules.get(name)) is not None:  # by its package
                    loaded.__spec__ = ModuleSpec(name, _AsLoaded(loaded))  # for importlib asks it again
                    return loaded.__spec__
        if name not in DEFERRALS:
            return None
        spec = PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            spec.loader = _KeepUnrun(spec.loader)
        return spec


def run_module(module: ModuleType) -> None:
    """Run the code of a module, where that was put off."""
    with _lock:
        spec = module.__spec__
        if (package := module.__name__.rpartition(".")[0]) in DEFERRALS and not DEFERRALS[package].names:
            run_module(sys.modules[package])  # first, as ever; it may run the module itself
        if not isinstance(module, DeferredModule) or spec is None or spec.loader is None:
            return
        object.__setattr__(module, "__class__", ModuleType)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            module.__class__ = DeferredModule  # the next who asks for it learns what is the matter
            raise
        DEFERRALS[module.__name__].after()


def defer_imports() -> None:
    """Put off the packages of DEFERRALS from now on, those that this process has not loaded; for processes of our own."""
    if not any(isinstance(finder, DeferringFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, DeferringFinder())


class _OfCompiled(type):
    """Nothing is an OptimizedModule before the module that makes them has been loaded."""

    def __instancecheck__(cls, instance: object) -> bool:
        makers = sys.modules.get("torch._dynamo.eval_frame")
        return makers is not None and isinstance(instance, makers.OptimizedModule)


class OptimizedModule(metaclass=_OfCompiled):
    """What Lightning asks whether a network is: one that `torch.compile` has made."""


def _disable(function: object, *args: object, **options: object) -> object:
    """`torch._dynamo.disable`: until something can be traced there is nothing to keep out, and the function is called itself."""
    if not isinstance(function, FunctionType):
        return _run("torch._dynamo").disable(function, *args, **options)
    call: Callable[..., object] = function

    @functools.wraps(function)
    def call_untraced(*values: object, **named: object) -> object:
        return call(*values, **named)

    def disable_now() -> None:
        nonlocal call
        call = sys.modules["torch._dynamo"].disable(function, *args, **options)

    _to_disable.append(disable_now)
    return call_untraced


def _disable_all() -> None:
    """Keep what `_disable` has been given out of what is traced from now on."""
    while _to_disable:
        _to_disable.pop()()


def _metrics(name: str) -> object:
    import_module("torchmetrics.utilities")  # first, as it and torchmetrics.metric import one another
    return getattr(import_module(f"torchmetrics.{name}"), {"metric": "Metric", "collections": "MetricCollection"}[name])


def _plot(*args: object, **options: object) -> object:
    return _run("torchmetrics.utilities.plot").plot_single_or_multi_val(*args, **options)


def _run(name: str) -> ModuleType:
    """A module, its code run."""
    run_module(module := import_module(name))
    return module


def _keep_deterministic() -> None:
    """Set the flag that `torch.use_deterministic_algorithms` has set in a module that had not run."""
    torch = sys.modules["torch"]
    if torch.are_deterministic_algorithms_enabled():
        setattr(sys.modules["torch._inductor.config"], "deterministic", True)  # noqa: B010 (no module declares it)


# By the time that importing them took of 3.7 s in all: torch._dynamo 0.8 s, torchmetrics 0.7 s, matplotlib for its plots 0.4 s.
DEFERRALS = {
    "torch._dynamo": Deferral({"OptimizedModule": lambda: OptimizedModule, "disable": lambda: _disable,
                               "graph_break": lambda: lambda: None}, after=_disable_all),
    "torch._inductor": Deferral(submodules=("torch._inductor.config.",)),
    "torch._inductor.config": Deferral(after=_keep_deterministic),
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
