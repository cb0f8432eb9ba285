"""A command that trains loads nothing for its first step that the step does not need, and all of it where it is asked for."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import TINY, command

# What Lightning would load, or torch for Lightning's settings: compiler, plots, algebra, scores of pictures and texts.
UNNEEDED = (
    "torch._dynamo.eval_frame", "torch._inductor.standalone_compile", "torch.distributed.tensor", "sympy", "matplotlib",
    "torchmetrics.functional", "torchmetrics.image", "scipy.stats", "pandas", "sklearn", "jsonargparse", "pystoi", "pesq",
)  # fmt: skip

AT_THE_FIRST_STEP = f"""
import json, sys
from speechml.engine.import_compat import defer_imports
defer_imports()  # as the command does, before torch
from torch.optim.optimizer import register_optimizer_step_post_hook

def write(*_):
    json.dump([name for name in {list(UNNEEDED)!r} if name in sys.modules], open("loaded.json", "w"))
    handle.remove()

handle = register_optimizer_step_post_hook(write)
from speechml.train import main
sys.argv[0] = "speechml-train"
main()
"""

WHOLE = """
import sys
from speechml.engine.import_compat import defer_imports
defer_imports()
import lightning.pytorch, torch
from lightning.fabric.wrappers import OptimizedModule
torch.use_deterministic_algorithms(True)

def step(network):
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    optimizer.zero_grad()
    network(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return network

network = step(torch.nn.Linear(2, 2))
print([name for name in ("torch._dynamo.eval_frame", "torchmetrics.functional", "matplotlib") if name in sys.modules])
compiled = torch.compile(network, backend="eager")
step(compiled)
print(isinstance(compiled, OptimizedModule), isinstance(network, OptimizedModule))
print(type(compiled) is torch._dynamo.OptimizedModule, torch._inductor.config.deterministic)
import torchmetrics
from torchmetrics.classification import MulticlassAccuracy
print(issubclass(MulticlassAccuracy, torchmetrics.Metric), torchmetrics.functional.__name__)
metric = MulticlassAccuracy(2)
metric.update(torch.tensor([0, 1]), torch.tensor([0, 1]))
metric.compute()
print(type(metric.plot()[0]).__name__)
"""


def test_nothing_is_loaded_ahead_of_the_first_step_that_it_does_not_need(workplace: Path) -> None:
    words = ["experiment=lab2a_fir", "report=false", "callbacks=none", *TINY, "trainer.max_epochs=1"]
    assert command("speechml", "data", "prepare", *words).returncode == 0
    done = subprocess.run([sys.executable, "-c", AT_THE_FIRST_STEP, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads((workplace / "loaded.json").read_text()) == []


def test_what_was_put_off_is_whole_where_it_is_asked_for() -> None:
    done = subprocess.run([sys.executable, "-c", WHOLE], capture_output=True, text=True)
    assert done.stdout.splitlines() == [
        "[]", "True False", "True True", "True torchmetrics.functional", "Figure",
    ], done.stderr  # fmt: skip


@pytest.mark.parametrize("first", ["torchmetrics.functional.audio", "torch._dynamo", "torchmetrics.utilities.plot"])
def test_any_order_of_imports_works(first: str) -> None:
    program = f"""
from speechml.engine.import_compat import defer_imports
defer_imports()
import {first}, torch, torchmetrics, lightning.pytorch
assert torchmetrics.functional.audio.signal_noise_ratio and torch._dynamo.optimize and torchmetrics.utilities.plot.plot_curve
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_setting_of_the_compiler_is_read_and_kept() -> None:
    program = """
from speechml.engine.import_compat import defer_imports
defer_imports()
import torch._inductor.config as settings
before = settings.debug
settings.max_autotune = not settings.max_autotune
import torch._inductor
print(before, settings.max_autotune, torch._inductor.config.max_autotune)
"""
    plain = program.replace("from speechml.engine.import_compat import defer_imports\ndefer_imports()\n", "")
    deferred, usual = (
        subprocess.run([sys.executable, "-c", text], capture_output=True, text=True) for text in (program, plain)
    )
    assert (deferred.returncode, deferred.stdout) == (0, usual.stdout), deferred.stderr


SLOW = {
    "slow/__init__.py": """
import gate
early = 1
gate.runs.append(1)
gate.begun.set()
gate.go.wait()
if gate.errors:
    raise gate.errors.pop()
from slow import part, late
lent = value = part.value + 1
other = 7
""",
    "slow/part.py": "value = 41",
    "slow/late.py": """
import gate, sys
gate.late.append("value" in vars(sys.modules["slow"]))
gate.late_begun.set()
gate.late_go.wait()
if gate.asks:
    import slow
    value = getattr(slow, "value", None)
""",
    "gate.py": """
import threading
begun, go, late_begun, late_go = (threading.Event() for _ in range(4))
errors, runs, late, asks = [], [], [], []
""",
}
BEGIN = """
import faulthandler, importlib, sys, threading, time
faulthandler.dump_traceback_later(300, exit=True)  # of what hangs
sys.path.insert(0, ".")
import gate
from speechml.engine import import_compat
names = {"lent": lambda: 42}
import_compat.DEFERRALS["slow"] = import_compat.Deferral(names)
import_compat.defer_imports()

def start(*actions):
    threads = [threading.Thread(target=keep, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    return threads

def keep(action):
    try:
        found.append(action())
    except BaseException as error:
        found.append(error)

found = []
"""


def run_slow(folder: Path, program: str) -> str:
    """What a program prints that uses a package whose code can be held up."""
    for name, content in SLOW.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)
    done = subprocess.run([sys.executable, "-c", BEGIN + program], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_threads_that_ask_while_another_runs_the_code_wait_for_all_of_it(tmp_path: Path) -> None:
    program = """
import slow
gate.late_go.set()
first = start(lambda: slow.value)
gate.begun.wait()
others = start(lambda: slow.value, lambda: slow.part.value, lambda: slow.early, lambda: importlib.import_module("slow").lent)
time.sleep(0.3)  # in which they ask; were it too short, nothing would be tested
assert found == [], found
gate.go.set()
for thread in first + others:
    thread.join()
print(sorted(found), len(gate.runs), type(slow).__name__)
"""
    assert run_slow(tmp_path, program) == "[1, 41, 42, 42, 42] 1 module"


def test_a_submodule_that_is_imported_while_another_thread_runs_its_package_makes_nobody_wait_for_ever(
    tmp_path: Path,
) -> None:
    program = """
import slow
gate.late_go.set()
first = start(lambda: slow.value)
gate.begun.wait()
second = start(lambda: importlib.import_module("slow.late").__name__)
second[0].join()
gate.go.set()
first[0].join()
print(found, len(gate.runs), len(gate.late), slow.late is sys.modules["slow.late"])
"""
    assert run_slow(tmp_path, program) == "['slow.late', 42] 1 1 True"


def test_threads_that_wait_for_one_another_go_on_as_in_any_circular_import(tmp_path: Path) -> None:
    program = """
import slow
gate.asks.append(1)
first = start(lambda: slow.value)
gate.begun.wait()
second = start(lambda: importlib.import_module("slow.late").__name__)
gate.late_begun.wait()
gate.go.set()  # the package waits for the submodule, which
time.sleep(0.1)
gate.late_go.set()  # asks for what the package has not got yet
for thread in first + second:
    thread.join()
print(sorted(map(str, found)), slow.value, len(gate.runs))
"""
    assert run_slow(tmp_path, program) == "['42', 'slow.late'] 42 1"


def test_a_name_that_one_thread_is_given_runs_the_package_for_another(tmp_path: Path) -> None:
    program = """
asked, answer = threading.Event(), threading.Event()
def lend():
    asked.set()
    answer.wait()
    return 42
names["lent"] = lend
gate.go.set(), gate.late_go.set()
import slow
first = start(lambda: slow.lent)
asked.wait()
import slow.part
print(len(gate.runs), slow.value)
answer.set()
first[0].join()
"""
    assert run_slow(tmp_path, program) == "1 42"


def test_a_name_that_takes_another_name_runs_no_package(tmp_path: Path) -> None:
    program = """
names.update(other=lambda: 7, lent=lambda: slow.other * importlib.import_module("slow.part").value)
gate.go.set(), gate.late_go.set()
import slow
print(slow.lent, len(gate.runs), slow.value, slow.lent)
"""
    assert run_slow(tmp_path, program) == "287 0 42 42"


@pytest.mark.parametrize("error", ["RuntimeError('disk')", "KeyboardInterrupt()"])
def test_code_that_was_cut_off_runs_again_from_the_begin(error: str, tmp_path: Path) -> None:
    program = f"""
gate.go.set(), gate.late_go.set()
import slow
for ask in (lambda: slow.value, lambda: slow.early, lambda: importlib.import_module("slow.late")):
    gate.errors.append({error})
    keep(ask)
print(*map(repr, found), slow.value, slow.late.__name__, slow.early, len(gate.runs))
"""
    assert run_slow(tmp_path, program) == f"{error} {error} {error} 42 slow.late 1 4"


def test_a_package_without_the_names_that_are_given_is_imported_as_ever(tmp_path: Path) -> None:
    program = """
names["gone"] = lambda: None
gate.go.set(), gate.late_go.set()
import slow
print(type(slow).__name__, len(gate.runs), hasattr(slow, "gone"), slow.lent)
"""
    assert run_slow(tmp_path, program) == "module 1 False 42"


def test_a_name_that_is_elsewhere_is_asked_of_the_package(tmp_path: Path) -> None:
    program = """
names["lent"] = lambda: importlib.import_module("slow.moved").lent
gate.go.set(), gate.late_go.set()
import slow
print(slow.lent, len(gate.runs))
"""
    assert run_slow(tmp_path, program) == "42 1"


def test_another_version_of_the_packages_is_imported_as_ever() -> None:
    program = """
import sys
from speechml.engine import import_compat
for deferral in import_compat.DEFERRALS.values():
    if deferral.names:
        deferral.names["a_name_of_this_version_alone"] = lambda: None
import_compat.DEFERRALS["torch._inductor"].names["a_name_of_this_version_alone"] = lambda: None
import_compat.defer_imports()
import lightning.pytorch, torch, torchmetrics
from lightning.fabric.wrappers import OptimizedModule
print(OptimizedModule is torch._dynamo.OptimizedModule, "torchmetrics.functional" in sys.modules)
print([type(sys.modules[name]).__name__ for name in ("torch._dynamo", "torch._inductor", "torchmetrics")])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["True True", "['module', 'module', 'module']"], done.stderr


def test_a_function_is_kept_out_of_what_is_traced_whenever_it_was_said() -> None:
    program = """
from speechml.engine.import_compat import defer_imports
defer_imports()
import torch
disable = torch._dynamo.disable

def plus(x):
    return x + 1

before = disable(plus)
torch._inductor.config.max_autotune = True  # the first that is asked of the settings
traced = torch.compile(lambda x: x * 2, backend="eager")(torch.ones(1))
after = disable(plus)
print(float(before(traced)), float(after(traced)), after._torchdynamo_disable, torch._inductor.config.max_autotune)
print(float(torch._dynamo.disable(recursive=False)(plus)(traced)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["3.0 3.0 True True", "3.0"], done.stderr
