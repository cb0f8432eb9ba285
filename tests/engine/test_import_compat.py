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
