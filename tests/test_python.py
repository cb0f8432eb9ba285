"""speechml in Python: the same runs as the commands', in a process that is left as it was."""

from __future__ import annotations

import csv
import errno
import json
import logging
import os
import random
import re
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

import speechml
from conftest import TINY, edit_card, make_words, read_card, run_of, succeed
from resuming import GENRE, SMALL, ask, at_step
from speechml.api import Interrupted
from speechml.errors import UserError
from stress_resume import differences

FIR = (*SMALL, *TINY, "experiment=lab2a_fir", "model.net.taps=8", "trainer.max_epochs=2", "callbacks.listening=null")
WORDS = (
    *SMALL, "experiment=words_tuned", "data.root=words", "model.net.width=8", "trainer.precision=32", "data.batch_size=16",
    "trainer.max_steps=6",
)  # fmt: skip


def trained(place: str, words: tuple[str, ...]) -> Path:
    """A run that is trained from Python into a folder of runs."""
    run = speechml.train([*words, f"paths.runs={place}"])
    assert run.state == "done"
    return run.folder


def test_the_package_is_imported_without_anything_heavy() -> None:
    code = "import sys, speechml; print([n for n in ('torch', 'hydra', 'numpy', 'omegaconf') if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.slow
def test_runs_trained_in_python_are_those_of_the_command_bit_for_bit_in_any_order(workplace: Path) -> None:
    make_words(workplace / "words", speakers=20)
    of_command = {}
    for words in (FIR, WORDS):
        succeed("speechml-train", *words, "paths.runs=command")
        experiment = words[len(SMALL) :]
        name = next(word for word in experiment if word.startswith("experiment=")).partition("=")[2]
        of_command[words] = run_of(workplace / "command", name)
    for place, order in (("one", (FIR, WORDS)), ("other", (WORDS, FIR))):
        for words in order:
            run = trained(place, words)
            assert run.relative_to(place) == of_command[words].relative_to(workplace / "command")  # the same id
            assert differences(of_command[words], run) == []
            own, theirs = speechml.load(run).state_dict(), speechml.load(of_command[words]).state_dict()
            assert own.keys() == theirs.keys()
            assert all(torch.equal(own[name], theirs[name]) for name in own)
            command = read_card(of_command[words])["command"]
            assert read_card(run)["command"] == command.replace("paths.runs=command", f"paths.runs={place}")


def state_of_this_process() -> dict[str, Any]:
    return {
        "python": random.getstate(), "numpy": str(np.random.get_state()), "torch": torch.get_rng_state().tolist(),
        "threads": torch.get_num_threads(), "deterministic": torch.get_deterministic_debug_mode(),
        "fill": torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
        "tf32": torch.backends.cudnn.allow_tf32, "benchmark": torch.backends.cudnn.benchmark,
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)],
        "levels": [logging.getLogger(name).level for name in ("", "speechml", "lightning.pytorch", "lightning.fabric")],
        "handlers": list(logging.getLogger("speechml").handlers), "warnings": list(warnings.filters), "argv": list(sys.argv),
        "environment": dict(os.environ), "hydra": HydraConfig.instance().cfg, "place": Path.cwd(), "hook": threading.excepthook,
    }  # fmt: skip


@pytest.mark.usefixtures("genre_features")
@pytest.mark.parametrize("end", ["done", "refused", "failed", "interrupted"])
def test_a_training_leaves_the_process_as_it_was(end: str) -> None:
    torch.set_num_threads(1)
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    fail = {"failed": lambda: [][0], "interrupted": ask(signal.SIGINT)}.get(end, lambda: None)
    before = state_of_this_process()
    try:
        with at_step(3, fail):
            speechml.train([*GENRE, "threads=2", *["data.batch_size=0"] * (end == "refused")])
        outcome = "done"
    except (UserError, IndexError, KeyboardInterrupt) as error:
        outcome = {UserError: "refused", IndexError: "failed", Interrupted: "interrupted"}[type(error)]
    assert outcome == end
    assert state_of_this_process() == before
    assert speechml.train(GENRE).state == "done"  # and the next call works


@pytest.mark.usefixtures("genre_features")
def test_a_training_that_is_stopped_by_hand_goes_on_by_the_same_call(undisturbed: Path) -> None:
    with (
        at_step(5, ask(signal.SIGINT)),
        pytest.raises(Interrupted, match="after step 5; the same call goes on with it"),
    ):
        speechml.train(GENRE)
    (run,) = speechml.runs(state="stopped")
    assert differences(undisturbed, speechml.train(GENRE).folder) == []
    assert run.state == "done"


@pytest.mark.usefixtures("genre_features")
def test_a_training_runs_in_a_thread_and_a_second_one_beside_it_is_refused(undisturbed: Path) -> None:
    runs, refusals = [], []

    def beside() -> None:
        with pytest.raises(UserError) as refused:
            speechml.train([*GENRE, "seed=7"])
        refusals.append(str(refused.value))

    with at_step(3, beside):
        thread = threading.Thread(target=lambda: runs.append(speechml.train(GENRE)))
        thread.start()
        thread.join()
    assert refusals == ["this process is training a run already; wait for it, or train in another process"]
    assert differences(undisturbed, runs[0].folder) == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["seed=0,1"], "seed=0,1 describes several runs, .* sweep by the command: speechml-train -m seed=0,1"),
        (["-m", "seed=0,1"], "-m describes several runs, .* sweep by the command: speechml-train -m seed=0,1"),
        (["optimizer.lr=interval(0.1,1)"], r"sweep by the command: speechml-train -m optimizer.lr=interval\(0.1,1\)"),
        (["hparams_search=mimo_cnn"], "hparams_search=mimo_cnn describes many runs"),
        (["--help"], "--help is an option of the command"),
        (["find_lr=true"], "find_lr=true trains nothing.* speechml-train find_lr=true"),
        (["sed=1"], "there is no key sed; did you mean seed?"),
        (["seed=x"], "seed is x; it must be a whole number"),
        (["experiment=lab2"], "there is no experiment/lab2"),
        (["model.net.taps=[1"], "is not understood"),
        (["experiment=words_tuned", "data.root=nowhere"], "nowhere is no folder"),
        (["experiment=words_tuned"], "data.root must be given"),
        ([1], "1 is no override"),
    ],
)
def test_what_cannot_be_trained_is_a_sentence_and_no_exit(words: Any, sentence: str, workplace: Path) -> None:
    with pytest.raises(UserError, match=sentence) as refused:
        speechml.train(words)
    assert "\n" not in str(refused.value)
    assert refused.value._render_traceback_() == [f"error: {refused.value}"]  # what a notebook shows
    assert not (workplace / "runs").exists()


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ModuleNotFoundError("no", name="pyloudnorm.iir"), r"this needs pyloudnorm; pip install 'speechml\[music\]'"),
        (OSError(errno.ENOSPC, "no space", "x"), "x cannot be written to"),
    ],
)
def test_what_the_command_explains_is_explained(
    error: Exception, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(cfg: DictConfig) -> None:  # noqa: ARG001
        raise error

    monkeypatch.setattr("speechml.sweep.training.train_checked", fail)
    with pytest.raises(UserError, match=sentence):
        speechml.train()


def test_overrides_may_be_values_by_their_keys_or_one_text() -> None:
    words = ["experiment=lab2a_fir", "optimizer.lr=0.5", "data.cache='a b, c'", "objective=null", "test=false"]
    values = {"experiment": "lab2a_fir", "optimizer.lr": 0.5, "data.cache": "a b, c", "objective": None, "test": False}
    assert speechml.compose(values) == speechml.compose(words)
    assert speechml.compose(values).data.cache == "a b, c"
    assert speechml.compose("seed=3") == speechml.compose(["seed=3"])


def test_a_composed_config_stands_by_itself() -> None:
    before = HydraConfig.instance().cfg
    one = speechml.compose(["experiment=lab2a_fir", "seed=4"])
    other = speechml.compose(["experiment=words_tuned"])
    assert isinstance(one, DictConfig)
    assert (one.name, other.name, one.data.seed) == ("lab2a_fir", "words_tuned", 4)
    assert HydraConfig.instance().cfg is before
    assert OmegaConf.to_container(one, resolve=True)["name"] == "lab2a_fir"
    one.seed = 5
    assert one.data.seed == 5  # its interpolations are alive


def test_a_run_says_what_its_files_say(trained: dict[str, Path]) -> None:
    for experiment in ("lab2a_fir", "words_tuned"):
        folder = trained[experiment]
        run = speechml.Run(str(folder))
        card = read_card(folder)
        assert (run.folder, run.state, run.scores, run.card.id) == (folder, "done", card["scores"], card["id"])
        with (folder / "metrics.csv").open() as file:
            rows = [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]
        assert run.metrics == rows
        with np.load(folder / "predictions.npz") as arrays:
            columns = dict(arrays)
        order = np.argsort(columns["name"], kind="stable")
        assert [item.name for item in run.predictions] == columns["name"][order].tolist()
        if experiment == "lab2a_fir":
            assert [item.scores["snr_db"] for item in run.predictions] == columns["snr_db"][order].tolist()
            mean = np.mean([item.scores["snr_db"] for item in run.predictions])
            assert mean == pytest.approx(run.scores["test/snr_db"])
        else:
            right = np.mean([item.predicted == item.label for item in run.predictions])
            assert right == pytest.approx(run.scores["test/acc"])
            assert [list(item.logits.values()) for item in run.predictions] == columns["logits"][order].tolist()
        assert run.report == folder / "report.html"
        assert run.report.is_file()
        own, theirs = run.load().state_dict(), speechml.load(folder).state_dict()
        assert all(torch.equal(own[name], theirs[name]) for name in theirs)


def test_a_notebook_shows_a_run_with_its_scores_and_its_report_kept_apart(finished_runs: Path) -> None:
    run = speechml.Run(run_of(finished_runs))
    text = run._repr_html_()
    assert "SNR (dB)" in text
    assert "report.html</a>" in text
    assert '<iframe sandbox="allow-scripts"' in text
    assert "<script" not in text  # all of the page is text of an attribute


def test_a_folder_that_is_no_run_is_refused(workplace: Path) -> None:
    with pytest.raises(UserError, match="is no run"):
        speechml.Run(workplace)


def test_runs_are_found_by_experiment_state_and_tag(runs: Path) -> None:
    edit_card(run_of(runs), tags=["thesis", "best"])
    edit_card(run_of(runs, "genre_mlp"), state="stopped")
    names = {
        "all": speechml.runs(), "experiment": speechml.runs("lab2a_fir"), "pattern": speechml.runs("genre_*"),
        "state": speechml.runs(state="stopped"), "tag": speechml.runs(tag="thesis"), "none": speechml.runs("lab2a_fir", tag="x"),
        "folder": speechml.runs(folder=runs / "genre_mlp"),
    }  # fmt: skip
    assert {key: [run.card.experiment for run in found] for key, found in names.items()} == {
        "all": ["genre_mlp", "lab2a_fir"], "experiment": ["lab2a_fir"], "pattern": ["genre_mlp"], "state": ["genre_mlp"],
        "tag": ["lab2a_fir"], "none": [], "folder": ["genre_mlp"],
    }  # fmt: skip
    (run_of(runs) / "card.json").write_text("{")
    assert [run.card.experiment for run in speechml.runs()] == ["genre_mlp"]
    with pytest.raises(UserError, match="state is finished; it can be done, stopped"):
        speechml.runs(state="finished")


@pytest.mark.usefixtures("genre_features")
def test_a_comparison_is_the_commands_table_and_its_rows() -> None:
    pair = [speechml.train([*GENRE, "trainer.max_epochs=1", f"optimizer.lr={lr}"]) for lr in (0.001, 0.05)]
    compared = speechml.compare(pair)
    folders = [str(run.folder) for run in pair]
    assert str(compared) == repr(compared) == succeed("speechml", "compare", *folders).stdout.rstrip("\n")
    assert compared.to_dict() == json.loads(succeed("speechml", "compare", *folders, "--format", "json").stdout)
    assert compared.rows == compared.to_dict()["rows"]
    assert str(speechml.compare(folders)) == str(compared)
    further = compared.to_dict()["validation"] + compared.to_dict()["limits"]
    assert compared._repr_html_().count("<tr>") == len(compared.rows) + len(further) + 1
    assert compared.to_dict()["reason"].startswith("the best by validation")
    for run, other in (pair, pair[::-1]):
        named = speechml.compare(pair, baseline=run)
        assert named.rows[0]["runs"] == [str(run.folder)]
        assert str(speechml.compare([other, run], baseline=run.folder.name[:6])) == str(named)
    with pytest.raises(UserError, match="one run compares with nothing"):
        speechml.compare(pair[:1])


OWN = """
import torch
class Own(torch.nn.Conv1d):
    receptive_field = {taps}
    def __init__(self):
        super().__init__(1, 1, {taps}, bias=False)
    def forward(self, noisy):
        return super().forward(torch.nn.functional.pad(noisy, ({taps} - 1, 0)))
"""


def test_code_of_ones_own_that_was_edited_is_the_edited_one(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPEECHML_CONF", "lab")
    monkeypatch.setattr(sys, "path", list(sys.path))
    (workplace / "lab").mkdir()
    for taps in (3, 12):
        (workplace / "lab" / "own_net.py").write_text(OWN.format(taps=taps))
        words = [*FIR[:-1], "~model.net", "+model.net._target_=own_net.Own", "redo=true"]
        words.remove("model.net.taps=8")
        run = speechml.train(words)
        assert run.load().net.weight.shape == (1, 1, taps)


def test_code_of_ones_own_is_that_of_the_folder_named_now(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    for folder, taps in (("first", 3), ("second", 12), ("first", 3)):
        monkeypatch.setenv("SPEECHML_CONF", folder)
        (workplace / folder).mkdir(exist_ok=True)
        (workplace / folder / "own_net_of_folders.py").write_text(OWN.format(taps=taps))
        words = [*FIR[:-1], "~model.net", "+model.net._target_=own_net_of_folders.Own", "redo=true"]
        words.remove("model.net.taps=8")
        assert speechml.train(words).load().net.weight.shape == (1, 1, taps)
    assert [place for place in sys.path if place.startswith(str(workplace))] == [str(workplace / "first")]


def test_the_modules_that_are_called_are_modules_still() -> None:
    import speechml.runs.card
    import speechml.train

    assert speechml.train.main
    assert speechml.runs.card.RunCard
    assert callable(speechml.train)
    assert {"Run", "compare", "compose", "load", "runs", "train"} <= set(dir(speechml))
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = speechml.trian  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.usefixtures("workplace")
def test_the_documents_code_runs() -> None:
    text = (Path(__file__).parents[1] / "docs" / "python.md").read_text()
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        exec(block, names)
    assert len(names["several"]) == 2
    assert names["denoised"].shape == (2, 1, 32000)
