"""`trainer.compile`: a compiled training resumes bit for bit, and its network is scored and used as any other."""

import os
import shutil
import signal
from pathlib import Path

import pytest
import torch

from conftest import command, composed, read_card
from resuming import GENRE, run_in, stop_in
from speechml.engine.checkpoint import read_checkpoint
from speechml.engine.compiling import compile_network
from speechml.engine.trained import load_task
from speechml.errors import UserError
from speechml.runs.identity import run_id
from stress_resume import differences

pytestmark = pytest.mark.usefixtures("genre_features")
COMPILE = "+trainer.compile=true"
needs_compiler = pytest.mark.skipif(
    not (os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")),
    reason="no C++ compiler is installed here",
)


def test_a_compiled_training_is_another_run_and_none_is_the_same() -> None:
    plain = run_id(composed("train", *GENRE))
    assert run_id(composed("train", *GENRE, "+trainer.compile=false")) == plain
    assert run_id(composed("train", *GENRE, COMPILE)) != plain


def test_where_nothing_can_be_compiled_one_sentence_says_so_before_there_is_a_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("No working C++ compiler found\nand a lot more")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: fail)
    words = (
        r"trainer.compile: nothing can be compiled here \(No working C\+\+ compiler found\); leave out trainer.compile"
    )
    with pytest.raises(UserError, match=words):
        run_in("runs", *GENRE, COMPILE)
    assert not Path("runs").exists()


def test_a_task_without_a_network_of_that_name_is_refused() -> None:
    with pytest.raises(UserError, match=r"trainer.compile compiles model.net, and Linear has none; leave it out"):
        compile_network(torch.nn.Linear(1, 1), torch.device("cpu"))


@needs_compiler
@pytest.mark.slow
def test_a_compiled_run_goes_on_bit_for_bit_and_its_checkpoints_are_those_of_any_run() -> None:
    words = (*GENRE, COMPILE)
    alone = run_in("alone", *words)
    stop_in("stopped", 7, signal.SIGTERM, *words)
    assert differences(alone, run_in("stopped", *words)) == []
    plain = run_in("plain", *GENRE)
    best = [read_checkpoint(run / "checkpoints" / "best.ckpt")["state_dict"] for run in (alone, plain)]
    assert list(best[0]) == list(best[1])  # no name says that it was compiled
    task, _ = load_task(alone / "checkpoints" / "best.ckpt")
    assert type(task.net.forward).__name__ == "method"
    done = command("speechml-evaluate", f"run={alone}", "threads=1")
    assert done.returncode == 0, done.stderr
    scored = next(alone.glob("evaluations/*.json")).read_text()
    assert f'"test/loss": {read_card(alone)["scores"]["test/loss"]}' in scored


@needs_compiler
@pytest.mark.slow
def test_what_is_computed_in_training_is_compiled_and_what_is_scored_is_not() -> None:
    task = torch.nn.Module()
    task.net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Tanh())
    values = torch.randn(3, 4)
    plain = task.net(values)
    compile_network(task, torch.device("cpu"))
    assert torch.equal(task.net.eval()(values), plain)
    torch.testing.assert_close(task.net.train()(values), plain)
    assert task.net.train()(values).grad_fn.name().startswith("CompiledFunction")
