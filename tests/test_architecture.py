"""What keeps the house in order: imports point down, a run loads only what it needs, borrowed private names lie together."""

from __future__ import annotations

import ast
import functools
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from conftest import TINY, command
from speechml.errors import EXTRAS

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src"
# From the ground up; what stands in one line may import one another.
LAYERS = (
    "errors contracts lazy process children", "storage", "config", "signal", "models metrics", "runs", "data", "tasks", "report",
    "callbacks", "music", "engine fused", "inference", "sweep", "cli api train evaluate worker __init__ hydra_plugins",
)  # fmt: skip
# Where private names of each package are used; a test beside each says what to do when one is gone.
COMPATIBILITY = {
    "lightning": "engine/lightning_compat.py", "hydra": "config/hydra_compat.py", "optuna": "sweep/optuna_compat.py",
    "tensorboard": "report/tensorboard_compat.py",
}  # fmt: skip


@functools.cache
def modules() -> dict[str, ast.Module]:
    """The source files, parsed, by the name of the module."""
    paths = sorted(SRC.rglob("*.py"))
    names = [".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__") for path in paths]
    return dict(zip(names, (ast.parse(path.read_text()) for path in paths), strict=True))


def is_for_types(node: ast.AST) -> bool:
    """Whether it is `if TYPE_CHECKING:`."""
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def imports(tree: ast.AST, inside_functions: bool) -> Iterator[str]:
    """What is imported, as "package.module.name"; what only type checkers import is left out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif not is_for_types(node) and (inside_functions or not isinstance(node, (ast.FunctionDef, ast.Lambda))):
            yield from imports(node, inside_functions)


def module_of(name: str) -> str | None:
    """The source module that an import names, or names something of."""
    return next((place for place in (name, name.rpartition(".")[0]) if place in modules()), None)


def layer(module: str) -> int:
    """How high a module stands."""
    room = (
        module.split(".")[1]
        if module.startswith("speechml.")
        else {"speechml": "__init__"}.get(module, "hydra_plugins")
    )
    return next(height for height, rooms in enumerate(LAYERS) if room in rooms.split())


def test_imports_point_down() -> None:
    upward = [
        f"{module} imports {name}"
        for module, tree in modules().items()
        for name in imports(tree, inside_functions=True)
        if (place := module_of(name)) and place != "speechml" and layer(place) > layer(module)
    ]
    assert upward == []


def test_no_modules_import_one_another() -> None:
    graph = {
        module: {place for name in imports(tree, inside_functions=False) if (place := module_of(name)) not in (None, module)}
        for module, tree in modules().items()
    }  # fmt: skip
    TopologicalSorter(graph).prepare()  # raises CycleError


LOADED = """
import atexit, json, sys
extras = ["optuna", "sklearn", "submitit", "pyloudnorm", "safetensors"]
sys.modules.update(dict.fromkeys(extras))  # as if they were not installed
from speechml.train import main

def write():
    files = [m.__file__ for n, m in sys.modules.items() if (n + ".").startswith(("speechml.", "hydra_plugins.speechml"))]
    json.dump({name: sum(1 for _ in open(name)) for name in files}, open("loaded.json", "w"))

atexit.register(write)
sys.argv[0] = "speechml-train"
main()
"""


FILES, LINES = 82, 10_300  # the goal: 50 and 5,000


def test_a_fir_run_loads_little_and_needs_no_extra(workplace: Path) -> None:
    words = ["experiment=lab2a_fir", "report=false", *TINY, "trainer.max_epochs=1"]
    assert command("speechml", "data", "prepare", *words).returncode == 0  # speaking the pairs is not a run's
    done = subprocess.run([sys.executable, "-c", LOADED, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded = json.loads((workplace / "loaded.json").read_text())
    listed = f"{len(loaded)} files, {sum(loaded.values())} lines:\n" + "\n".join(
        f"{lines:5} {Path(name).relative_to(SRC)}" for name, lines in sorted(loaded.items())
    )
    assert (len(loaded) <= FILES, sum(loaded.values()) <= LINES) == (True, True), listed


def borrowed(tree: ast.Module) -> Iterator[str]:
    """Packages of COMPATIBILITY whose private names a module imports."""
    for name in imports(tree, inside_functions=True):
        package, *parts = name.split(".")
        if any(part.startswith("_") and not part.startswith("__") for part in parts):
            yield {"torch": "tensorboard"}.get(package, package)


@pytest.mark.parametrize("package", COMPATIBILITY)
def test_private_names_are_borrowed_in_one_file(package: str) -> None:
    where = {module for module, tree in modules().items() if package in borrowed(tree)}
    assert where <= {"speechml." + COMPATIBILITY[package].replace("/", ".").removesuffix(".py")}


# Private names of further packages, each in the one file that needs it; and what is private by its looks only.
ELSEWHERE = {
    "speechml.data.download": {"_CHECKSUMS"}, "speechml.data.synthetic.espeak": {"_handle"},
    "speechml.music.features": {"_filters"},
}  # fmt: skip
NO_SECRETS = {"_replace", "_asdict", "_fields", "_make", "_exit", "_Environ"}  # of named tuples and os


def own_names() -> set[str]:
    """Private names that our own code defines: functions, classes, variables, attributes."""
    nodes = [node for tree in modules().values() for node in ast.walk(tree)]
    names = {node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    names |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return names | {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}


def test_private_attributes_of_others_are_used_in_the_compatibility_files() -> None:
    allowed = {"speechml." + place.replace("/", ".").removesuffix(".py") for place in COMPATIBILITY.values()}
    known = own_names()
    used = [
        f"{module}: {ast.unparse(node)}"
        for module, tree in modules().items()
        if module not in allowed
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__")
        if node.attr not in known | NO_SECRETS | ELSEWHERE.get(module, set())
    ]
    assert used == []


def functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    """All functions, with where they stand."""
    for module, tree in modules().items():
        yield from ((module, node) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def test_few_parameters_are_of_any_type() -> None:
    found = [
        f"{module}.{function.name}({argument.arg})"
        for module, function in functions()
        for argument in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
        if argument.annotation and ast.unparse(argument.annotation) == "Any"
    ]
    assert len(found) <= 6, found


def test_functions_and_files_are_short() -> None:
    functions_ = [f"{m}.{f.name}" for m, f in functions() if (f.end_lineno or 0) - f.lineno >= 60]
    files = [str(path) for path in SRC.rglob("*.py") if len(path.read_text().splitlines()) > 310]
    assert (functions_, files) == ([], [])


def packages(lines: list[str]) -> set[str]:
    """Names of packages in lines of pyproject.toml, as they are imported."""
    imported = {"hydra_core": "hydra", "mlflow_skinny": "mlflow", "pyyaml": "yaml", "pillow": "PIL"}
    names = [re.split(r"[<>=\[]", line)[0].lower().replace("-", "_") for line in lines]
    return {imported.get(name, name) for name in names}


def test_what_is_imported_is_declared_and_no_more_is_required() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {extra: packages(lines) for extra, lines in project["optional-dependencies"].items()}
    required = packages(project["dependencies"])
    roots = {name.split(".")[0] for tree in modules().values() for name in imports(tree, inside_functions=True)}
    imported = roots - {"speechml", "hydra_plugins", *sys.stdlib_module_names}
    assert required <= imported <= required.union(*extras.values())
    assert {package for package, extra in EXTRAS.items() if package not in extras[extra]} == set()
    assert imported - required <= {*EXTRAS, *extras["metrics"]}  # a missing one is explained
