"""Runs the code of what `import_compat` has put off: once, whichever threads ask for it, and again where it was cut off.

It runs as the import of a module of its own, and whoever needs it meanwhile imports that, too: Python then lets the others wait
for all of it, and two threads that wait for one another go on with what there is, as with any circular import. One that imports
a submodule while another runs its package may therefore fail, as it may without `import_compat`, but no thread waits for ever.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from speechml.engine.import_compat import DeferredModule, run_module, running, to_disable

RUN = "run "  # begins the name of what runs a module


class AfterPackage(Loader):
    """Runs a package, and then loads a submodule of it, or gives what the package has loaded.

    Args:
        loader: the submodule's own.
        package: name of the package.
    """

    def __init__(self, loader: Loader, package: str) -> None:
        self.loader, self.package = loader, package
        self.loaded: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        run_module(sys.modules[self.package])
        if (module := sys.modules.get(spec.name)) is None:
            return self.loader.create_module(spec)
        self.loaded = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        if self.loaded:
            object.__setattr__(module, "__spec__", self.loaded)  # settings of torch take no attributes
            return
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)


class _Run(Loader):
    """Runs the code of a deferred module, as the import of another one: with its lock, that knows of threads that block."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module

    def create_module(self, spec: ModuleSpec) -> None:
        """Nothing of its own."""

    def exec_module(self, module: ModuleType) -> None:  # noqa: ARG002 (the lock)
        own, spec = self.module, self.module.__spec__
        if not isinstance(own, DeferredModule) or spec is None or spec.loader is None:
            return  # it has run
        before = dict(vars(own))
        running[own.__name__] = threading.get_ident()
        try:
            spec.loader.exec_module(own)
            if isinstance(own, DeferredModule):
                own.__class__ = ModuleType  # type: ignore[assignment]
        except (
            BaseException
        ):  # Ctrl-C too: the next who asks for it has it run from the begin, and learns what is the matter
            object.__setattr__(own, "__class__", DeferredModule)
            modules = {name: value for name, value in vars(own).items() if isinstance(value, ModuleType)}
            vars(own).clear()
            vars(own).update(modules | before)
            raise
        finally:
            del running[own.__name__]
        AFTER.get(own.__name__, lambda: None)()


def disable_all() -> None:
    """Keep what `_disable` has been given out of what is traced from now on."""
    while to_disable:
        with suppress(IndexError):  # another thread took the last
            disable_now = to_disable.pop()
            disable_now()


def _keep_deterministic() -> None:
    """Set the flag that `torch.use_deterministic_algorithms` has set in a module that had not run."""
    torch = sys.modules["torch"]
    if torch.are_deterministic_algorithms_enabled():
        setattr(sys.modules["torch._inductor.config"], "deterministic", True)  # noqa: B010 (no module declares it)


AFTER = {"torch._dynamo": disable_all, "torch._inductor.config": _keep_deterministic}  # what is done when one has run


class _RunFinder(MetaPathFinder):
    """Finds what runs a module."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:  # noqa: ARG002
        if not name.startswith(RUN):
            return None
        return ModuleSpec(name, _Run(sys.modules[name.removeprefix(RUN).replace("/", ".")]))


def run_once(module: ModuleType) -> None:
    """Run the code of a deferred module, or wait for the thread that does."""
    # Dots would be packages; and import_module raises where two threads wait for one another.
    __import__(RUN + module.__name__.replace(".", "/"))


sys.meta_path.insert(0, _RunFinder())
