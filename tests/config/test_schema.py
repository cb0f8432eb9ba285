"""One schema says what every key is: it fits the classes, the shipped files, the editors, and refuses before torch is loaded."""

import importlib
import inspect
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import yaml

from conftest import composed
from speechml.config.compose import adapt_overrides, conf_dir, resolve_config, simplify_overrides
from speechml.config.instantiate import import_class, parameters
from speechml.config.json_schema import json_schemas
from speechml.config.schema import REQUIRED, ROOMS, Key, Schema, keys_of, room_targets, schema_of, walk
from speechml.config.train_config import EvaluateConfig, TrainConfig, check_config, make_paths_absolute
from speechml.contracts import Config
from speechml.errors import UserError
from speechml.runs.identity import run_id

CONF = Path(conf_dir())
TARGETS = [target for room in ROOMS for target in room_targets(room)]
OPTIM = (
    "SGD",
    "Adam",
    "AdamW",
    "LBFGS",
    "lr_scheduler.CosineAnnealingLR",
    "lr_scheduler.OneCycleLR",
    "lr_scheduler.StepLR",
)
OF_OTHERS = [*(f"torch.optim.{name}" for name in OPTIM), "lightning.pytorch.Trainer",
             "speechml.tasks.optimization.WarmupCosine"]  # fmt: skip
OF_SCHEDULES = {"interval"}  # what a task tells Lightning
WITHOUT_SCHEMA = {"speechml.callbacks.EpochTable"}  # which no config builds
SWEEPS = [f"hydra_plugins.speechml_sweeps.{name}" for name in ("GridSweeper", "LocalLauncher", "SlurmLauncher")]


def checked(*words: str) -> Config:
    """The config of a command, which must be right."""
    return check_config(resolve_config(composed("train", *adapt_overrides(words))))


def every_key() -> Iterator[tuple[str, Key]]:
    """All keys of all schemas."""
    for schema in [TrainConfig, EvaluateConfig, *map(schema_of, [*TARGETS, *SWEEPS, *OF_OTHERS])]:
        yield from walk(schema, f"{schema.__name__}.") if schema else ()


def test_a_data_module_takes_the_keys_of_its_schema_and_checks_them_by_it() -> None:
    from speechml.data import SpokenWords

    for target in room_targets("data"):
        schema = schema_of(target)
        assert schema is not None
        assert issubclass(import_class(target), schema)
    for words, says in (({"batch_size": 1}, "batch_size is 1; it must be a whole number of at least 2"),
                        ({"words": ["yes"]}, "at least two different"), ({"split": "voice"}, "official or random")):  # fmt: skip
        with pytest.raises(UserError, match=says):
            SpokenWords(**{"sample_rate": 16000, "batch_size": 4, "split_seed": 0, **words})
    data = SpokenWords(sample_rate=16000, batch_size=np.int64(4), split_seed=0, words=("yes", "no"))
    assert (data.words, type(data.batch_size)) == (["yes", "no"], int)  # as a config writes them


def test_a_users_data_module_may_annotate_what_only_a_type_checker_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_data.py").write_text(
        """from __future__ import annotations
from typing import TYPE_CHECKING
from speechml.config.schema import key
from speechml.data import SpokenPairs
if TYPE_CHECKING:
    from somewhere import Table
class Mine(SpokenPairs):
    table: Table | None = None
    mine: int = key("a number of one's own", 3)
"""
    )
    monkeypatch.syspath_prepend(tmp_path)
    mine = importlib.import_module("my_data").Mine
    assert keys_of(mine)["mine"].kind is int
    assert mine(sample_rate=32000, clip_s=1, batch_size=4, split_seed=0).mine == 3


@pytest.mark.parametrize("target", [*TARGETS, *OF_OTHERS])
def test_a_schema_has_the_arguments_of_its_class_with_their_defaults(target: str) -> None:
    schema, cls = schema_of(target), import_class(target)
    if target in WITHOUT_SCHEMA:
        assert schema is None
        return
    assert schema is not None
    own = OF_SCHEDULES if "scheduler" in target or "optimization" in target else set()
    ours = set(getattr(schema, "OURS", ()))  # which the class is not given
    assert ours <= set(keys_of(schema))
    assert set(keys_of(schema)) - ours <= parameters(cls) | own | {
        "batch_size",
        "split_seed",
        "seed",
        "cache",
        "sample_rate",
    }
    assert set(schema.FURTHER) <= parameters(cls)
    signature = inspect.signature(vars(cls).get("__init__", cls)).parameters
    for name, key in keys_of(schema).items():
        default = signature[name].default if name in signature else inspect.Parameter.empty
        if (
            default is inspect.Parameter.empty
            or key.default is REQUIRED
            or target.endswith("Trainer")
            or default is None
        ):
            continue  # the Trainer's are those of conf/trainer
        assert json.loads(json.dumps(default)) == key.default, name


def test_every_argument_of_lightnings_trainer_is_known_but_those_that_a_config_cannot_write() -> None:
    trainer = schema_of("lightning.pytorch.Trainer")
    assert trainer is not None
    known = {*keys_of(trainer), *trainer.FURTHER, *trainer.REPLACED}
    assert parameters(import_class("lightning.pytorch.Trainer")) <= known, "name new ones in config/third_party.py"


def test_sections_within_a_task_have_the_arguments_of_what_they_build() -> None:
    from speechml.signal.augmentation import Augmentation
    from speechml.signal.front_ends import FrontEnd
    from speechml.tasks import schema

    for known, cls in ((schema.Augmentation, Augmentation), (schema.FrontEnd, FrontEnd)):
        signature = inspect.signature(cls).parameters
        for name, key in keys_of(known).items():
            assert json.loads(json.dumps(signature[name].default)) == key.default, name


def test_every_key_has_a_reason_in_one_line() -> None:
    for name, key in every_key():
        assert 10 <= len(key.why) < 135, name
        assert "\n" not in key.why, name


def test_every_default_is_allowed() -> None:
    for name, key in every_key():
        if key.default is not REQUIRED and key.section is None:
            assert key.accepts(str(key.default) if isinstance(key.default, Path) else key.default), name


def choices(schema: type[Schema] | None, name: str) -> set[object]:
    assert schema is not None
    return set(keys_of(schema)[name].choices)


def test_the_choices_are_those_that_the_code_knows() -> None:
    from speechml.models import mlp, stft_cnn
    from speechml.models import schema as models
    from speechml.signal.front_ends import KINDS
    from speechml.tasks import schema as tasks
    from speechml.tasks import stft_denoising, waveform_denoising
    from speechml.tasks.stft_windows import SAMPLINGS, TARGETS

    assert choices(tasks.WaveformDenoiser, "loss") == set(waveform_denoising.LOSSES)
    assert choices(tasks.MagnitudeDenoiser, "loss") == set(stft_denoising.LOSSES)
    assert choices(tasks.MagnitudeDenoiser, "sampling") == set(SAMPLINGS)
    assert choices(tasks.MagnitudeDenoiser, "target") == set(TARGETS)
    assert choices(tasks.FrontEnd, "kind") == set(KINDS)
    assert choices(models.STFTCNN1d, "activation") == set(stft_cnn.ACTIVATIONS)
    assert choices(models.STFTCNN1d, "output") == set(stft_cnn.OUTPUTS)
    assert choices(models.STFTCNN1d, "inputs") == set(stft_cnn.INPUTS)
    assert choices(models.MLP, "activation") == set(mlp.ACTIVATIONS)


@cache
def editor_schema(name: str) -> jsonschema.Draft7Validator:
    """What an editor checks the files of a group by."""
    return jsonschema.Draft7Validator(json.loads(json.dumps(json_schemas()[name], default=str)))


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONF)))
def test_every_shipped_file_names_its_editor_schema_and_fits_it(path: Path) -> None:
    line = next(
        line for line in path.read_text().splitlines()[:2] if line.startswith("# yaml-language-server: $schema=")
    )
    named = (path.parent / line.partition("=")[2]).resolve()
    assert named.parent == CONF.parent / "schemas"  # as `speechml schema -o schemas` writes them
    editor_schema(named.stem).validate(yaml.safe_load(path.read_text()))


def test_an_editor_marks_a_wrong_key_and_a_wrong_value() -> None:
    for wrong in ({"_target_": "torch.optim.SGD", "lrr": 1}, {"_target_": "torch.optim.SGD", "lr": "fast"}):
        with pytest.raises(jsonschema.ValidationError):
            editor_schema("optimizer").validate(wrong)


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("trainer.max_epochs=2.5", "trainer.max_epochs is 2.5; it must be a whole number of at least -1 (-1 sets no limit"),
        ("trainer.max_epochs=null", "trainer.max_epochs is null; it must be"),
        ("trainer.max_epochs=-1", "trainer.max_epochs is -1; it must be at least 1, or trainer.max_steps be given"),
        ("trainer.max_epochs=1e1", "trainer.max_epochs is 10.0; it must be a whole number"),
        ("trainer.limit_val_batches=1.5", "it can be a share up to 1.0"),
        ("trainer.strategy=ddp_spawn", "trainer.strategy is ddp_spawn; it starts copies of this process; choose ddp"),
        ("trainer.precision=64-true", "it can be 32-true, bf16-mixed"),
        ("data.batch_size=2.5", "data.batch_size is 2.5; it must be a whole number"),
        ("data.clip_s=true", "data.clip_s is true"),
        ("seed=12345678901234567890", "seed is 12345678901234567890; it must be a whole number from"),
        ("seed=a", "seed is a; it must be a whole number"),
        ("threads=0.5", "threads is 0.5; it must be a whole number"),
        ("report=maybe", "report is maybe; it can be true or false"),
        ("model.loss=l3", "model.loss is l3; it can be l1, mse, mse_sum, snr, si_sdr, mr_stft or a section that names a class"),
        ("optimizer.lr=-1", "optimizer.lr is -1; it must be a number of at least 0"),
        ("optimizer.lr=fast", "optimizer.lr is fast; it must be a number of at least 0"),
        ("name=null", "name is null; it must be text (name of a folder"),
        ("name=' '", "name is empty"),
        ("~experiment", "name is null"),
        ("experiment=null", "name is null"),
        ("~optimizer.lr", ""),
        ("~checkpoint.monitor", ""),
        ("model.net.taps=[40,x]", "model.net.taps is [40, x]; it must be a list of whole numbers from 1 to 1000000"),
        ("model.net=3", "model.net is 3; it must be a mapping"),
        ("metrics={auroc: 3}", "metrics.auroc is 3; it must be a section that names a class"),
        ("metrics={auroc: {task: binary}}", "metrics.auroc names no class"),
        *((f"{group}=null", f"{group}=null leaves nothing to compute with; choose {group}=NAME")
          for group in ("data", "model", "optimizer", "trainer", "checkpoint", "paths", "hydra")),
        ("~hydra", "~hydra leaves nothing to compute with; choose hydra=NAME"),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_kind_is_refused_in_one_sentence(word: str, says: str) -> None:
    if not says:  # what holds without the key is known
        checked("experiment=lab2b_mimo_cnn", word)
        return
    with pytest.raises(UserError) as refused:
        checked(*([] if word.startswith("experiment") else ["experiment=lab2b_mimo_cnn"]), word)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("group", ["scheduler", "callbacks", "logger", "metrics", "debug", "hparams_search"])
def test_null_means_none_of_a_group_that_a_run_can_do_without(group: str) -> None:
    config = checked("experiment=words_mel", "data.root=x", f"{group}=null")
    assert not config.get(group) or not any(config[group].values())
    assert set(config["logger"].values()) == {group != "logger"}


def test_a_schedule_whose_keys_an_experiment_sets_can_be_left_out() -> None:
    words = ("experiment=words_tuned", "data.root=x", "scheduler=null")
    assert checked(*words)["scheduler"] == {}
    assert run_id(composed("train", *adapt_overrides(words))) == run_id(composed("train", *words[:2], "scheduler=none"))


def test_arguments_of_the_trainer_need_no_plus_and_count_as_with_it() -> None:
    words, before = ["trainer.val_check_interval=0.5", "trainer.limit_train_batches=3"], composed("train")
    ids = {run_id(composed("train", *adapt_overrides(f"{plus}{word}" for word in words))) for plus in ("", "+", "++")}
    assert len(ids) == 1
    assert ids != {run_id(before)}
    assert checked(*words)["trainer"]["val_check_interval"] == 0.5
    assert simplify_overrides(adapt_overrides(words)) == words  # as cards show them
    assert adapt_overrides(["trainer.max_epochs=3", "-m"]) == ["trainer.max_epochs=3", "-m"]  # which name sweeps


def test_further_metrics_are_named_in_the_config_and_count_only_where_there_are_some() -> None:
    word = "metrics={auroc: {_target_: torchmetrics.classification.MulticlassAUROC}}"
    assert checked(word)["metrics"] == {"auroc": {"_target_": "torchmetrics.classification.MulticlassAUROC"}}
    with_metric = run_id(composed("train", *adapt_overrides([word])))
    assert run_id(composed("train", "~metrics")) == run_id(composed("train")) != with_metric


def test_a_number_of_steps_needs_no_number_of_epochs() -> None:
    assert checked("trainer.max_epochs=-1", "trainer.max_steps=7")["trainer"]["max_epochs"] == -1


def test_data_paths_become_absolute_in_a_copy() -> None:
    config = checked("data=wav_pairs", "data.root=mine")
    assert make_paths_absolute(config)["data"]["root"] == str(Path("mine").absolute())
    assert config["data"]["root"] == "mine"
    own = {"data": {"_target_": "mine.Data", "root": "x"}}  # of the user's own, which no schema describes
    assert make_paths_absolute(own)["data"]["root"] == str(Path("x").absolute())


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["speechml-train", "+optimizer.momentun=0.9"], 2),
        (["speechml-train", "optimizer.lrr=1"], 1),
        (["speechml-train", "--help"], 0),
        (["speechml-train", "--cfg", "job"], 0),
        (["speechml", "explain", "optimizer.lr", "experiment=words_mel"], 0),
    ],
)
def test_help_and_refusals_do_not_load_torch(words: list[str], code: int, workplace: Path) -> None:
    start = "from speechml.cli import app" if words[0] == "speechml" else "from speechml.train import main as app"
    lines = ("import atexit, sys", "atexit.register(lambda: print('torch' in sys.modules))", start,
             f"sys.argv = {words}", "app()")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()[-1]) == (code, "False"), done.stderr
    assert list(workplace.iterdir()) == []
