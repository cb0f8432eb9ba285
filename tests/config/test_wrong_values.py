"""Values that a key cannot have, anywhere in a config: refused in a sentence, before torch is loaded or a folder exists."""

import copy
import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import pytest

from conftest import TINY, composed
from speechml.config.compose import adapt_overrides, resolve_config
from speechml.config.schedules import CosineAnnealingLR, OneCycleLR
from speechml.config.schema import Schema, arms, keys_of
from speechml.config.third_party import LBFGS, SGD, Adam, AdamW, Trainer
from speechml.config.train_config import TrainConfig, check_config
from speechml.engine.parts import build_data, build_parts
from speechml.errors import UserError

POOL: list[Any] = [
    None, True, -1, 0, 1.5, "abc", "", [], [1], ["x"], {"a": 1}, math.inf, -math.inf, math.nan, 10**20, [math.nan],
]  # fmt: skip
SECTIONS: dict[str, type[Schema]] = {
    "trainer": Trainer, "optimizer=sgd": SGD, "optimizer=adam": Adam, "optimizer=adamw": AdamW, "optimizer=lbfgs": LBFGS,
    "scheduler=cosine": CosineAnnealingLR, "scheduler=one_cycle": OneCycleLR,
}  # fmt: skip


@cache
def base(*words: str) -> dict[str, Any]:
    return resolve_config(composed("train", *adapt_overrides(words)))


def with_value(config: dict[str, Any], key: str, value: object) -> dict[str, Any]:
    """A copy of a config in which a dotted key has another value."""
    changed = copy.deepcopy(config)
    *sections, name = key.split(".")
    node = changed
    for section in sections:
        node = node[section]
    node[name] = value
    return changed


def refusal_of(config: dict[str, Any]) -> str:
    """What is said of a wrong config; nothing of a right one."""
    try:
        check_config(config)
    except UserError as refusal:
        return str(refusal)
    return ""


def could_be(value: object, kind: object) -> bool:
    """Whether a value of a pool is of a type at all, said apart from the schema."""
    if isinstance(value, float) and not math.isfinite(value):
        return False
    if isinstance(value, list):
        inner = [get_args(arm)[0] for arm in arms(kind) if get_origin(arm) is list]
        return any(all(could_be(item, one) for item in value) for one in inner)
    of_value = {
        NoneType: (NoneType,),
        bool: (bool,),
        int: (int, float),
        float: (float,),
        str: (str, Path),
        dict: (dict,),
    }
    kinds = [type(get_args(arm)[0]) if get_origin(arm) is Literal else get_origin(arm) or arm for arm in arms(kind)]
    kinds += [type(one) for arm in arms(kind) if get_origin(arm) is Literal for one in get_args(arm)]
    if value == "" and str not in kinds:  # no path
        return False
    return any(one in of_value[type(value)] for one in kinds if isinstance(one, type)) and value != 10**20


def cases() -> Iterator[tuple[str, str, object]]:
    """A choice of a group, a key in it, and the kind of the key."""
    for word, schema in SECTIONS.items():
        group = word.partition("=")[0]
        kinds = {name: known.kind for name, known in keys_of(schema).items()}
        kinds |= {name: getattr(kind, "kind", kind) for name, kind in schema.FURTHER.items()}
        yield from ((word, f"{group}.{name}", kind) for name, kind in kinds.items())
    yield from (("", name, known.kind) for name, known in keys_of(TrainConfig).items() if not known.is_section)


@pytest.mark.parametrize(
    ("word", "key", "kind"), list(cases()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_value_of_another_kind_is_refused_and_no_value_is_a_traceback(word: str, key: str, kind: object) -> None:
    config = base(*([word] if "=" in word else []))
    for value in POOL:
        refusal = refusal_of(with_value(config, key, value))
        assert "\n" not in refusal
        assert refusal or could_be(value, kind), f"{key}={value!r} was taken"


@pytest.mark.parametrize(
    "section", ["data", "model", "optimizer", "trainer", "checkpoint", "callbacks", "logger", "paths"]
)
@pytest.mark.parametrize("value", [3, "abc", [1], True])
def test_a_section_that_is_a_value_is_refused(section: str, value: object) -> None:
    with pytest.raises(UserError, match=section):
        check_config(with_value(base(), section, value))


@pytest.mark.parametrize(
    ("words", "key", "value", "says"),
    [
        ("optimizer=adam", "optimizer.betas", [0.9], "optimizer.betas is [0.9]; it must be two numbers"),
        ("optimizer=adamw", "optimizer.betas", [0.9, 0.9, 0.9], "it must be two numbers"),
        ("optimizer=adam", "optimizer.betas", [0.9, 1], "below 1"),
        ("optimizer=sgd", "optimizer.nesterov", True, "optimizer.nesterov needs optimizer.momentum above 0"),
        ("optimizer=sgd", "optimizer.momentum", 1.5, "it must be a number of at least 0 and below 1"),
        ("optimizer=adamw", "optimizer.maximize", True, "optimizer.maximize is true; it can be false"),
        ("scheduler=one_cycle", "scheduler.pct_start", 1, "below 1"),
        ("scheduler=one_cycle", "scheduler.max_momentum", 1, "below 1"),
        ("optimizer=sgd", "optimizer.lr", math.inf, "optimizer.lr is inf; it must be finite"),
        ("optimizer=sgd", "optimizer.differentiable", True, "it can be false"),
        ("optimizer=lbfgs", "optimizer.line_search_fn", "armijo", "it can be strong_wolfe or null"),
        ("scheduler=one_cycle", "scheduler.anneal_strategy", "tan", "it can be cos or linear"),
        (
            "trainer=cpu",
            "trainer.devices",
            "two",
            "trainer.devices is two; it must be auto, a number, or numbers as [0, 3]",
        ),
        ("trainer=cpu", "trainer.limit_train_batches", 0, "nothing would be trained"),
        ("trainer=cpu", "trainer.gradient_clip_algorithm", "max", "it can be norm, value or null"),
        ("trainer=cpu", "trainer.max_epochs", 10**20, "it must be below 2^63"),
        ("trainer=cpu", "trainer.detect_anomaly", "yes", "it can be true or false"),
        *(
            ("trainer=cpu", "name", name, "which names no folder of runs")
            for name in ("..", ".", "../x", "/tmp/x", "a/../../x", ".old", "a//b", "a/", "a\tb", "a\nb", "a\0")
        ),
        ("experiment=lab2a_fir", "published.scores", {"test/snr_db": "high"}, "published.scores is"),
        ("experiment=lab2a_fir", "published.scores", {"test/snr_db": math.nan}, "it must be finite"),
        ("trainer=cpu", "paths.runs", "", "it must be a path"),
        ("trainer=cpu", "callbacks.mine", {"a": 1}, "callbacks.mine names no class; add callbacks.mine._target_=CLASS"),
        ("trainer=cpu", "callbacks.progress", {"_target_": None}, "callbacks.progress names no class"),
    ],
)
def test_a_value_out_of_range_is_refused_with_what_it_may_be(words: str, key: str, value: object, says: str) -> None:
    with pytest.raises(UserError) as refused:
        check_config(with_value(base(words), key, value))
    assert says in str(refused.value)


def build(folder: Path, *words: str) -> None:
    """Build the parts of a run."""
    config = check_config(resolve_config(composed("train", *words)))
    build_parts(config, build_data(config), folder)


ROOT = "lightning.pytorch.callbacks"


@pytest.mark.parametrize(
    ("word", "says"),
    [
        (f"+callbacks.x={{_target_: {ROOT}.BatchSizeFinder}}", "callbacks.x BatchSizeFinder would train before the training"),
        (f"+callbacks.x={{_target_: {ROOT}.LearningRateFinder}}", "find_lr=true finds a rate"),
        (f"+callbacks.x={{_target_: {ROOT}.ModelPruning, pruning_fn: l1_unstructured}}", "ModelPruning renames the weights"),
        (f"+callbacks.x={{_target_: {ROOT}.ModelPruning}}", "missing 1 required positional argument"),
        (f"+callbacks.x={{_target_: {ROOT}.Timer, duration: abc}}", "callbacks.x Timer"),
        (f"+callbacks.x={{_target_: {ROOT}.GradientAccumulationScheduler, scheduling: {{a: 2}}}}", "callbacks.x Gradient"),
        ("+callbacks.x={_target_: torch.nn.ReLU}", "callbacks.x._target_=torch.nn.ReLU is no Callback"),
        ("+callbacks.x={_target_: speechml.callbacks.WordFigures}",
         "WordFigures is for clips with a word each, and the data are pairs of noisy and clean recordings; leave it out"),
        ("+callbacks.x={_target_: speechml.callbacks.GenreFigures}", "GenreFigures is for rows of features"),
        ("model.net._target_=torch.optim.SGD", "model.net"),
        ("++optimizer={_target_: torch.nn.ReLU}", "there is no key optimizer.lr"),
        ("optimizer._target_=torch.optim.SparseAdam", "optimizer SparseAdam takes no step with these arguments"),
        ("++optimizer={_target_: torch.optim.Adam, lr: 0.1, capturable: true}", "optimizer Adam takes no step"),
        ("++optimizer={_target_: torch.optim.Adam, lr: 0.1, fused: true, foreach: true}", "optimizer Adam"),
        ("++optimizer={_target_: torch.optim.RMSprop, lr: -1}", "optimizer RMSprop: Invalid learning rate"),
        ("++optimizer={_target_: torch.optim.Rprop, etas: [1, 2, 3]}", "optimizer Rprop"),
        ("++scheduler={_target_: torch.optim.lr_scheduler.ReduceLROnPlateau, factor: 2}", "scheduler.factor is 2; it must be"),
        ("++scheduler={_target_: torch.optim.lr_scheduler.LambdaLR, lr_lambda: 3}", "scheduler LambdaLR"),
        ("++scheduler={_target_: torch.optim.lr_scheduler.MultiStepLR, milestones: 3}", "scheduler MultiStepLR"),
        ("++scheduler={_target_: torch.optim.lr_scheduler.OneCycleLR, max_lr: 1, total_steps: 2}",
         "scheduler.total_steps is 2, and the training has"),
        ("trainer.val_check_interval=5000", "trainer.val_check_interval is 5000, and an epoch has"),
        ("trainer.max_time=abc", "trainer Trainer"),
        ("trainer.max_time={a: 1}", "trainer Trainer"),
    ],
)  # fmt: skip
def test_what_a_class_refuses_is_a_sentence_before_there_is_a_folder(word: str, says: str, workplace: Path) -> None:
    fast = (*TINY, "experiment=lab2a_fir", "model.net.taps=8", "callbacks.figures=null", *adapt_overrides([word]))
    with pytest.raises(UserError) as refused:
        build(workplace / "run", *fast)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)
    assert list(workplace.iterdir()) == []
