"""What an ordinary LightningModule and LightningDataModule of the user's can expect: they run as they are."""

import csv
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import speechml
from conftest import command, composed, read_card, succeed
from resuming import run_in
from speechml.config.instantiate import import_class, parameters, plugin_packages
from speechml.engine.checkpoint import read_checkpoint
from speechml.engine.signals import Stopped
from speechml.errors import UserError
from speechml.report.summary import ScoreTable
from speechml.report.sweep_page import sweep_context

HERE = Path(__file__).parents[1]
OWN = ("experiment=own", "name=mine", "threads=1", "callbacks.progress=null", "report=false")
PLAIN = (*OWN, "data._target_=plain_modules.Data", "model._target_=plain_modules.Net", "trainer.max_epochs=4")


@pytest.fixture(autouse=True)
def own_folder(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the user's with her modules, in an empty folder to work in."""
    folder = workplace / "mine"
    folder.mkdir()
    shutil.copy(HERE / "plain_modules.py", folder)
    monkeypatch.setenv("SPEECHML_CONF", str(folder))
    return folder


def weights(run: Path, name: str = "last") -> dict[str, torch.Tensor]:
    return dict(read_checkpoint(run / "checkpoints" / f"{name}.ckpt")["state_dict"])


def assert_equal_runs(one: Path, other: Path) -> None:
    """Weights, optimiser, table and scores are equal, bit for bit."""
    first, second = (read_checkpoint(run / "checkpoints/last.ckpt") for run in (one, other))
    for name, value in first["state_dict"].items():
        assert torch.equal(value, second["state_dict"][name]), name
    assert (one / "metrics.csv").read_text() == (other / "metrics.csv").read_text()
    assert read_card(one)["scores"] == read_card(other)["scores"]
    assert repr(first["optimizer_states"]) == repr(second["optimizer_states"])


def interrupt(module: str, at: int, action: Callable[[], Any], method: str = "training_step") -> Any:
    """A patch by which `action` is called in the middle of the step of that number."""
    import plain_modules

    cls, passed = getattr(plain_modules, module), []
    before = getattr(cls, method)

    def step(self: Any, *args: Any) -> Any:
        passed.append(0)
        if len(passed) == at:
            action()
        return before(self, *args)

    patch = pytest.MonkeyPatch()
    patch.setattr(cls, method, step)
    return patch


def test_an_ordinary_module_and_its_data_run_as_they_are(workplace: Path) -> None:
    run = run_in(workplace / "runs", *PLAIN, "report=true")
    card = read_card(run)
    assert card["state"] == "done"
    assert {"val/loss", "val/acc", "test/loss", "test/acc"} <= card["scores"].keys()
    assert (run / "report.html").exists()
    assert list(run.glob("events.out.tfevents.*"))
    assert card["audit"]["verdict"] == "unknown"
    assert card["data"]["recordings"] == {"train": 20, "val": 10, "test": 10}
    assert "BaseDataModule" in card["data"]["notes"][0]
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    assert [row["epoch"] for row in rows] == ["0", "1", "2", "3"]
    assert {"train/loss", "val/acc"} <= rows[0].keys()
    assert not any(name.endswith(("_step", "_epoch")) for name in rows[0])


def test_its_best_epoch_is_kept_under_the_name_that_it_logs(workplace: Path) -> None:
    run = run_in(workplace / "runs", *PLAIN, "checkpoint.monitor=val_acc", "data._target_=plain_modules.Fixed")
    rows = list(csv.DictReader((run / "metrics.csv").open()))
    best = max(float(row["val/acc"]) for row in rows)
    assert read_card(run)["monitored"] == pytest.approx(best)
    assert read_card(run)["scores"]["val/acc"] == pytest.approx(best)


@pytest.mark.parametrize("step", [1, 4, 5, 8, 11])
@pytest.mark.parametrize("kind", ["signal", "error"])
def test_a_resumed_run_is_bit_equal_to_one_left_alone(workplace: Path, step: int, kind: str) -> None:
    """Stopped within any epoch, the run goes on from the end of the epoch before; its draws are those of the epoch."""
    alone = run_in(workplace / "alone", *PLAIN, "checkpoint.every_n_steps=1")

    def fail() -> None:
        raise RuntimeError("as a kill would")

    action = fail if kind == "error" else lambda: os.kill(os.getpid(), signal.SIGTERM)
    patch = interrupt("Net", step, action)
    try:
        with pytest.raises((Stopped, RuntimeError)):
            run_in(workplace / "stopped", *PLAIN, "checkpoint.every_n_steps=1")
    finally:
        patch.undo()
    assert_equal_runs(alone, run_in(workplace / "stopped", *PLAIN, "checkpoint.every_n_steps=1"))


def test_a_resumed_run_with_worker_processes_is_bit_equal(workplace: Path) -> None:
    words = (*PLAIN, "+data.workers=1", "checkpoint.every_n_steps=1", "trainer.max_epochs=2")
    alone = run_in(workplace / "alone", *words)
    patch = interrupt("Net", 5, lambda: os.kill(os.getpid(), signal.SIGTERM))
    try:
        with pytest.raises(Stopped):
            run_in(workplace / "stopped", *words)
    finally:
        patch.undo()
    assert_equal_runs(alone, run_in(workplace / "stopped", *words))


def test_random_splits_are_the_same_in_every_stage_and_for_every_seed() -> None:
    """random_split in setup(), called again for the test, would give items of the training to the test."""
    import plain_modules
    from speechml.engine.plain_data import PlainData

    splits = []
    for seed in range(2):
        PlainData(module := plain_modules.Fixed(), seed)
        for stage in ("fit", "validate", "test"):
            module.setup(stage)
            splits.append([list(part.indices) for part in module.parts])
    assert sorted(item for part in splits[0] for item in part) == list(range(40))
    assert all(split == splits[0] for split in splits)


def test_two_runs_of_one_test_set_are_known_to_be_so(workplace: Path) -> None:
    words = (*PLAIN, "data._target_=plain_modules.Fixed")
    cards = [read_card(run_in(workplace / "runs", *words, f"seed={seed}"))["data"] for seed in (0, 1)]
    assert cards[0]["test_fingerprint"] == cards[1]["test_fingerprint"] != "not known"
    done = succeed("speechml", "compare", *map(str, sorted((workplace / "runs/mine").iterdir())))
    assert "only seeds" in done.stdout


def test_the_trained_module_is_loaded_and_scored_again(workplace: Path) -> None:
    run = run_in(workplace / "runs", *PLAIN, "data._target_=plain_modules.Fixed")
    module = speechml.load(run)
    assert type(module).__name__ == "Net"
    assert torch.equal(module.net[0].weight, weights(run, "best")["net.0.weight"])
    assert succeed("speechml", "runs", "verify", str(run)).stdout.count("ok") == 2
    scored = succeed("speechml-evaluate", f"run={run}")
    assert f"{read_card(run)['scores']['test/acc']:.3g}" in scored.stdout
    assert command("speechml", "denoise", str(run), ".", "-o", "out").returncode == 2
    assert f"Next: speechml-evaluate run={run}" in succeed("speechml", "runs", "show", str(run)).stdout


def test_an_accuracy_in_percent_is_shown_as_it_was_logged(own_folder: Path, workplace: Path) -> None:
    module = "\n".join([
        "from plain_modules import Net as Plain", "class Net(Plain):", "    def test_step(self, batch):",
        "        self.log('test/acc', 75.0)", "        self.log('test/loss', 0.5)",
    ])  # fmt: skip
    (own_folder / "in_percent.py").write_text(module)
    run = run_in(workplace / "runs", *PLAIN, "model._target_=in_percent.Net", "report=true")
    assert read_card(run)["scores"]["test/acc"] == 75.0
    headline = re.search(r'class="headline[^"]*">(.*?)</p>', (run / "report.html").read_text(), re.DOTALL)
    assert headline
    text = re.sub(r"<[^>]*>", " ", headline[1]).split()
    assert text == ["75", "test/acc"]
    assert re.search(r"test/acc +75$", (run / "scores.txt").read_text(), re.MULTILINE)


def test_the_page_of_a_sweep_of_plain_runs_compares_them(workplace: Path) -> None:
    succeed("speechml-train", "-m", *PLAIN, "data._target_=plain_modules.Fixed", "seed=range(2)", "+model.lr=0.1,0.01")
    comparison = sweep_context(workplace / "runs/mine", workplace / "page.html")["comparison"]
    assert isinstance(comparison, ScoreTable)
    assert {row[0] for row in comparison.rows} == {"val/acc", "", "test accuracy", "test loss"}
    assert (
        [row[1] for row in comparison.rows].count("lr=0.1") == [row[1] for row in comparison.rows].count("lr=0.01") > 1
    )
    assert any("only seeds tell" in remark for remark in comparison.remarks)


def test_a_sweep_of_plain_runs_ends_with_a_table() -> None:
    done = succeed("speechml-train", "-m", *PLAIN, "seed=range(2)", "+model.lr=0.1,0.01")
    assert "4 runs: 4 done" in done.stdout


@pytest.mark.parametrize("model", ["KeepsNumbers", "Manual", "NoTest"])
def test_what_lightning_allows_works(workplace: Path, model: str) -> None:
    words = [word.replace("modules.Net", f"modules.{model}") for word in PLAIN]
    card = read_card(run_in(workplace / "runs", *words))
    assert card["state"] == "done"
    assert ("test/loss" in card["scores"]) == (model != "NoTest")


def test_networks_and_optimisers_within_the_config_are_built_as_hydra_builds_them(workplace: Path) -> None:
    words = [word for word in PLAIN if not word.startswith("model")]
    node = "{_target_: plain_modules.Given, net: {_target_: torch.nn.Linear, in_features: 4, out_features: 2}, "
    node += "optimizer: {_target_: torch.optim.SGD, _partial_: true, lr: 0.1}}"
    run = run_in(workplace / "runs", *words, f"++model={node}")
    assert weights(run)["net.weight"].shape == (2, 4)


@pytest.mark.parametrize("data", ["Streaming", "OnlyTraining"])
def test_data_without_length_or_validation_train(workplace: Path, data: str) -> None:
    words = [word.replace("modules.Data", f"modules.{data}") for word in PLAIN]
    card = read_card(run_in(workplace / "runs", *words))
    assert card["state"] == "done"
    if data == "OnlyTraining":
        assert any("validation set" in line for line in card["warnings"])
        assert any("test set" in line for line in card["warnings"])


def test_a_module_that_logs_nothing_is_trained_and_told_so(workplace: Path) -> None:
    words = [word.replace("modules.Net", "modules.Silent") for word in PLAIN]
    run = run_in(workplace / "runs", *words)
    assert sum("self.log" in line for line in read_card(run)["warnings"]) == 2
    assert weights(run)


def test_a_module_without_an_optimiser_takes_that_of_the_config(workplace: Path) -> None:
    words = [word.replace("modules.Net", "modules.NoOptimizer") for word in PLAIN]
    more = ("optimizer=sgd", "optimizer.lr=0.25", "scheduler=step", "scheduler.step_size=2")
    state = read_checkpoint(run_in(workplace / "runs", *words, *more) / "checkpoints/last.ckpt")["optimizer_states"]
    assert state[0]["param_groups"][0]["initial_lr"] == 0.25
    assert state[0]["param_groups"][0]["lr"] < 0.25


@pytest.mark.parametrize("monitor", ["val/loss", "val_loss"])
def test_a_schedule_that_waits_for_a_plateau_goes_by_the_score_that_a_module_logs(
    workplace: Path, monitor: str
) -> None:
    words = [word.replace("modules.Net", "modules.NoOptimizer") for word in PLAIN]
    more = ("optimizer=sgd", "optimizer.lr=0.25", "scheduler=plateau", f"scheduler.monitor={monitor}")
    run = run_in(workplace / "runs", *words, *more)
    (state,) = read_checkpoint(run / "checkpoints/last.ckpt")["lr_schedulers"]
    with (run / "metrics.csv").open() as file:
        losses = [float(row["val/loss"]) for row in csv.DictReader(file) if row.get("val/loss")]
    assert state["last_epoch"] == len(losses) == 4
    assert state["best"] == pytest.approx(min(losses))


REFUSED = [
    (["model._target_=plain_modules.NoOptimizer"], "no configure_optimizers, and the config no optimizer"),
    (["model._target_=plain_modules.NoTraining"], "NoTraining has no training_step"),
    (["data._target_=plain_modules.Empty"], "Empty has no training batches"),
    (["data._target_=plain_modules.Failing"], "data Failing failed (ValueError: bad recordings, in line"),
    (["optimizer=adam"], "Net configures its own optimizer"),
    (["++metrics.x={_target_: torchmetrics.classification.BinaryAccuracy}"], "Net configures its own metrics"),
    (
        [
            "optimizer=adam",
            "model._target_=speechml.tasks.WaveformDenoiser",
            "+model.net={_target_: speechml.models.FIR}",
            "+model.sample_rate=8000",
        ],
        "cannot learn from Data, which does not say",
    ),
    (["find_lr=true"], "keep speechml's contract"),
    (["+data.bach_size=3"], "there is no key data.bach_size; did you mean data.batch_size?"),
    (["model.lr=3"], "write +model.lr=VALUE"),
    (["model._target_=plain_modules.KeepsCode"], "could only be read by running code"),
]


@pytest.mark.parametrize(("words", "sentence"), REFUSED)
def test_what_cannot_run_is_one_sentence(workplace: Path, words: list[str], sentence: str) -> None:
    done = command("speechml-train", *PLAIN, *words)
    assert done.returncode in (1, 2)
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    if "KeepsCode" not in words[0]:
        assert not list(workplace.glob("runs/mine/*"))


def test_a_step_that_fails_keeps_its_traceback_and_the_card(workplace: Path) -> None:
    """The fault is in the user's code: the traceback is what she needs."""
    done = command("speechml-train", *PLAIN, "model._target_=plain_modules.Fails")
    assert done.returncode == 1
    assert "plain_modules.py" in done.stderr
    assert read_card(next(workplace.glob("runs/mine/*")))["state"] == "failed"


@pytest.mark.slow
def test_two_processes_share_the_items_of_an_ordinary_loader(workplace: Path) -> None:
    done = succeed(
        "speechml-train", *PLAIN, "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", cwd=workplace
    )
    assert "test/acc" in done.stdout


@pytest.mark.slow
def test_an_installed_package_with_an_entry_point_is_found(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = workplace / "site"
    package, about = site / "their_lab", site / "their_lab-1.0.dist-info"
    for folder in (package / "conf/experiment", about):
        folder.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    shutil.copy(HERE / "plain_modules.py", package / "modules.py")
    (package / "conf/experiment/theirs.yaml").write_text(
        "# @package _global_\ndefaults: [own]\ndata: {_target_: their_lab.modules.Fixed}\n"
        "model: {_target_: their_lab.modules.Net}\ntrainer: {max_epochs: 1}\n"
    )
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: their-lab\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[speechml.plugins]\ntheir_lab = their_lab\n")
    monkeypatch.setenv("PYTHONPATH", f"{site}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.delenv("SPEECHML_CONF")
    done = succeed("speechml-train", "experiment=theirs", "threads=1", cwd=workplace)
    assert "test/acc" in done.stdout
    assert "their_lab" in read_card(next(workplace.glob("runs/theirs/*")))["code"]["own"]


def test_a_class_of_another_package_is_named_by_importing_it(own_folder: Path) -> None:
    (own_folder / "theirs.py").write_text("from torchvision_like import Net\n")
    (own_folder / "torchvision_like.py").write_text("import torch\nclass Net(torch.nn.Linear): pass\n")
    assert import_class("theirs.Net").__name__ == "Net"
    for name in ("theirs.os.system", "numpy.ndarray", "theirs.torch.Generator"):
        with pytest.raises(UserError):
            import_class(name)


def test_arguments_that_a_module_does_not_take_are_known() -> None:
    import plain_modules

    assert parameters(plain_modules.Fixed) == set()
    assert parameters(plain_modules.Net) == {"lr"}


def test_no_package_is_a_plugin_by_itself() -> None:
    assert "torch" not in plugin_packages()


def test_callbacks_follow_the_data() -> None:
    from speechml.contracts import ItemKind
    from speechml.engine.parts import build_callbacks

    nodes = composed("train")["callbacks"]
    kinds = {ItemKind.PAIRS: "Figures", ItemKind.CLIPS: "WordFigures", ItemKind.ROWS: "GenreFigures"}

    class Data:
        spec: Any

    for kind in ItemKind:
        data = Data()
        data.spec = type("Spec", (), {"kind": kind})
        named = {name: type(one).__name__ for name, one in build_callbacks(dict(nodes), data).items()}  # type: ignore[arg-type]
        assert named.get("figures") == kinds.get(kind)
        assert ("listening" in named) == (kind is ItemKind.PAIRS)


def test_the_test_set_is_known_whatever_the_size_of_its_batches(workplace: Path) -> None:
    words = (*PLAIN, "data._target_=plain_modules.Sized", "trainer.max_epochs=1")
    cards = [read_card(run_in(workplace / "runs", *words, f"+data.batch={size}"))["data"] for size in (2, 10)]
    assert cards[0]["test_fingerprint"] == cards[1]["test_fingerprint"]


def test_a_longer_training_of_a_plain_module_begins_anew(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its own schedule may depend on the length."""
    run_in(workplace / "runs", *PLAIN)
    longer = run_in(workplace / "runs", *PLAIN, "trainer.max_epochs=5")
    assert "begins anew" in capsys.readouterr().out
    assert_equal_runs(longer, run_in(workplace / "alone", *PLAIN, "trainer.max_epochs=5"))


@pytest.mark.parametrize("data", ["TornDown", "Combined"])
def test_data_modules_may_free_their_data_and_keep_their_loaders(workplace: Path, data: str) -> None:
    words = [word.replace("modules.Data", f"modules.{data}") for word in PLAIN]
    card = read_card(run_in(workplace / "runs", *words))
    assert card["state"] == "done"
    assert card["data"]["recordings"] == {"train": 20, "val": 10, "test": 10}


def test_layers_that_are_made_late_are_made_before_weights_are_read(workplace: Path) -> None:
    words = [word.replace("modules.Net", "modules.Late") for word in PLAIN]
    run = run_in(workplace / "runs", *words)
    assert speechml.load(run).net[0].weight.shape == (8, 4)


def test_a_plain_run_is_scored_again_with_arguments_of_its_data(workplace: Path) -> None:
    """The data module has a constructor of its own, which takes no cache."""
    run = run_in(workplace / "runs", *PLAIN, "+data.count=48")
    assert "test/acc" in succeed("speechml-evaluate", f"run={run}").stdout


def test_a_loss_that_is_no_number_is_one_sentence(workplace: Path) -> None:
    done = command("speechml-train", *PLAIN, "model._target_=plain_modules.NoNumber")
    assert done.returncode == 2
    assert "gives a loss of shape (8, 2), not one number; let it return the mean" in done.stderr
    assert read_card(next(workplace.glob("runs/mine/*")))["state"] == "failed"


def test_a_strangers_config_builds_networks_only_within_its_model() -> None:
    from speechml.config.nodes import build_inner

    for name in ("lightning.pytorch.loggers.CSVLogger", "lightning.pytorch.Trainer"):
        with pytest.raises(UserError):
            build_inner({"inner": {"_target_": name}}, "model")
        with pytest.raises(UserError):
            build_inner({"inner": {"_target_": name, "_partial_": True}}, "model")


def test_processes_do_not_divide_what_they_cannot() -> None:
    from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler

    import plain_modules
    from speechml.engine.plain_data import PlainData

    data = PlainData(plain_modules.Fixed(), 0)
    data.trainer = type("Trainer", (), {"world_size": 2, "global_rank": 0})()  # type: ignore[assignment]
    items = list(range(6))
    divided = data._share(DataLoader(items, 3, shuffle=True))
    assert len(divided) == 1
    for loader in (
        DataLoader(items, batch_sampler=[[0, 1], [2, 3]]),
        DataLoader(items, sampler=RandomSampler(items, replacement=True)),
        DataLoader(items, batch_sampler=BatchSampler(SequentialSampler(items), 2, False), collate_fn=list),
    ):
        if type(loader.batch_sampler) is BatchSampler and loader.batch_size is None:
            continue
        with pytest.raises(UserError, match="of its own"):
            data._share(loader)
