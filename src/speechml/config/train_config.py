"""The whole config of an app: its own keys, and the sections that the other rooms' schemas describe."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

from speechml.config.schema import REQUIRED, Schema, check_section, data_keys, key, keys_of, schema_of, without_class
from speechml.config.third_party import Trainer
from speechml.contracts import Config, is_higher_better, standard_name
from speechml.errors import UserError
from speechml.storage.files import expand_home

Sense = Callable[[Config, object], bool | None]  # whether more of a score of a config is better, as far as it is known
TRAINER_KEYS = (  # of conf/trainer
    "accelerator", "devices", "num_nodes", "precision", "max_epochs", "max_steps", "deterministic", "gradient_clip_val",
    "check_val_every_n_epoch",
)  # fmt: skip
SEED = 2**63 - 1  # largest, and with a minus smallest, that torch takes


class Checkpoint(Schema):
    """Which weights are kept and tested, and what a power cut may cost."""

    monitor: str = key("checkpoints/best.ckpt is the epoch that is best in this; a search without objective goes by it as well",
                       "val/loss", allowed="a logged score, as val/loss, val/snr_db or val/acc")  # fmt: skip
    mode: Literal["min", "max"] | None = key(
        "whether less or more of checkpoint.monitor is better; null: by its name", None
    )
    test_weights: Literal["best", "last"] = key("weights that are tested: of the best validation, or of the last epoch, as "
                                                "where a schedule ends there", "best")  # fmt: skip
    every_n_steps: int | None = key("last.ckpt is written this often too; a crash costs what came after it; null: only time "
                                    "counts", None, unit="steps", above=0, effect=False)  # fmt: skip
    every_s: float | None = key("last.ckpt is written this often; a crash costs what came after it, writing costs time; null: "
                                "only steps count", 60, unit="s", above=0, effect=False)  # fmt: skip


class Callbacks(Schema):
    """What watches a run: progress, figures, recordings to listen to; callbacks.NAME=null leaves one out."""

    OPEN = Config | None
    progress: Config | None = key("a bar, or a line an epoch, on the terminal; null: none", None, effect=False)
    listening: Config | None = key("noisy, clean and denoised recordings in audio/ and in TensorBoard; null: none", None,
                                   effect=False)  # fmt: skip
    figures: Config | None = key("the pictures in figures/; null: none", None, effect=False)
    early_stopping: Config | None = key("ends a training that has stopped improving; null: it goes on to the end", None)

    @classmethod
    def check(cls, node: Config, where: str) -> None:
        for name, callback in node.items():
            if callback and not callback.get("_target_"):
                raise without_class(f"{where}{name}")


class Logger(Schema):
    """What is written of every epoch; logger.NAME={_target_: ...} adds another of Lightning's loggers, or one of yours."""

    OPEN = Config | None
    tensorboard: bool = key("events in the run's folder, for tensorboard --logdir runs", False)
    csv: bool = key("metrics.csv in the run's folder, a row an epoch", False)
    wandb: bool = key(
        "a run at Weights & Biases: offline, unless WANDB_MODE says otherwise; WANDB_PROJECT names its project", False
    )
    mlflow: bool = key("a run at MLflow: where MLFLOW_TRACKING_URI says, else in .mlflow/ beside the runs", False)

    @classmethod
    def check(cls, node: Config, where: str) -> None:
        Callbacks.check({name: logger for name, logger in node.items() if name not in keys_of(cls)}, where)


class Paths(Schema):
    """Where runs and packed recordings lie; they change no number."""

    runs: Path = key("runs/<experiment>/<id>/ are made here; $SPEECHML_RUNS moves it for good", Path("runs"))
    cache: Path = key("packed recordings, decoded once; can be deleted at any time; $SPEECHML_CACHE moves it",
                      Path("~/.cache/speechml"))  # fmt: skip


class Published(Schema):
    """Figures of the paper or lab, for the table at the end; they change no number."""

    source: str = key("where the figures were published; printed below the table", "")
    note: str = key("what a reader of the published figures should know", "")
    of: Config = key("data that the figures are of: they are shown beside scores of such data only", {},
        allowed="data (a class), protocol, fingerprint; classes, least: numbers of classes and of items")  # fmt: skip
    scores: dict[str, float] = key("the published figures by the names of our scores; shown in a column of the table", {},
                                   allowed="score: number, as {test/snr_db: 12.3}")  # fmt: skip
    choices: list[str] = key("what was taken where the text of a lab and its code disagree; shown on the page", [])
    deviations: list[str] = key("in what the experiment differs from both; shown on the page", [])
    tolerance: dict[str, float] = key("how far from a published figure a run may be and still reproduce it; speechml reproduce "
                                      "judges by it", {}, allowed="score: number, in the unit of the score")  # fmt: skip


class Init(Schema):
    """The weights that a run begins with, where they are those of a network that was trained before."""

    from_: Path | None = key("a trained network whose weights the run begins with; null: random ones. In the id of the run the "
        "weights count, and not where they lie", None, allowed="a run, a checkpoint, or a folder of speechml export")  # fmt: skip
    skip: list[str] = key("weights that are not taken over and begin at random", [],
                          allowed="beginnings or patterns of their names, as [net.classifier]")  # fmt: skip
    freeze: list[str] = key("weights that stay as they are taken over; few clips then train few weights", [],
                            allowed="beginnings or patterns of their names, as [net.stem, net.blocks]")  # fmt: skip

    @classmethod
    def check(cls, node: Config, where: str) -> None:
        for name in ("skip", "freeze"):
            if node.get(name) and not node.get("from"):
                raise UserError(f"{where}{name} is of weights that are taken over", fix=f"set {where}from=RUN as well")


class Metrics(Schema):
    """Further scores: a name each, and a class of torchmetrics."""

    OPEN = Config

    @classmethod
    def check(cls, node: Config, where: str) -> None:
        for name, metric in node.items():
            if "_target_" not in metric:
                raise UserError(f"{where}{name} names no class", fix="add _target_: torchmetrics.NAME")


class AppConfig(Schema):
    """What the apps have in common."""

    seed: int = key("first weights, order of clips, augmentation: several seeds show what is chance; the test set stays", 0,
                    least=-SEED, most=SEED)  # fmt: skip
    threads: int | None = key("CPU threads that compute; null: all cores; bit-for-bit equal results need an equal number", None,
                              least=1)  # fmt: skip
    paths: Paths = key("where runs and packed recordings lie; they change no number", effect=False)


class TrainConfig(AppConfig):
    """The config of speechml-train."""

    name: str = key("folder of the runs below paths.runs; follows the experiment, debug modes set `debug`; it changes no "
                    "number", allowed="name of a folder, as name=mine", effect=False)  # fmt: skip
    test: bool = key("whether the test split is scored when training is done", True)
    report: bool = key(
        "whether report.html, a page to look at and listen to, is written in the end", True, effect=False
    )
    tags: list[str] | None = key("words to find the run by (speechml runs list --tag); null: those that it has", None,
                                 effect=False)  # fmt: skip
    note: str | None = key("a remark, kept in the run's card; null: the one that it has", None, effect=False)
    engine: Literal["lightning", "fused"] = key("the loop that trains; fused is for many small networks of a sweep at once "
        "(hydra/launcher=fused)", "lightning", later=True)  # fmt: skip
    redo: bool = key("true trains a run anew that is done, and keeps the old one in runs/.old/", False, effect=False)
    find_lr: bool = key(
        "true plots loss against rising learning rates and suggests one; nothing is trained", False, effect=False
    )
    objective: str | None = key("what a search goes by; null: checkpoint.monitor. Never a score of the test split: choosing is "
        "not testing", None, allowed="a score of the validation split, as val/acc or val/loss", effect=False)  # fmt: skip
    data: Config = key("recordings, how they are divided into training, validation and test, and how many make a batch")
    model: Config = key("how a network is trained and scored (the task), and in net the network itself")
    optimizer: Config = key("how weights follow their gradients")
    scheduler: Config = key("how the learning rate changes from batch to batch, over the whole training", {})
    init: Init = key("the weights that a run begins with, where they are not random", {"from": None, "skip": [], "freeze": []},
                     later=True)  # fmt: skip
    trainer: Config = key("where, how long and how exactly is computed: Lightning's Trainer")
    checkpoint: Checkpoint = key("which weights are kept and tested, and what a power cut may cost")
    callbacks: Callbacks = key("what watches a run: progress, figures, recordings to listen to; callbacks.NAME=null leaves "
                               "one out", {})  # fmt: skip
    logger: Logger = key("what is written of every epoch", {"tensorboard": False, "csv": False}, effect=False)
    test_sets: dict[str, Config] = key("further test sets by names of yours: keys of data each, the others as in data; "
        "scores are called NAME/..., no training changes", {}, allowed="as {car: {root: FOLDER}}", effect=False)  # fmt: skip
    metrics: Metrics = key(
        "further scores: classes of torchmetrics by names of yours; they change no training", {}, later=True
    )
    published: Published = key("figures of the paper or lab, for the table at the end", {}, effect=False)

    @classmethod
    def check(cls, node: Config, where: str) -> None:  # noqa: ARG003 (of the whole config)
        for group in ("data", "model", "optimizer", "scheduler", "trainer"):
            section = node.get(group, {})
            if "_target_" not in section and (section or group not in ("model", "optimizer", "scheduler")):
                raise UserError(f"{group} names no class to build", fix=f"choose {group}=NAME")
        if not node.get("optimizer") and schema_of(node.get("model", {}).get("_target_")):
            raise UserError("optimizer=null leaves nothing to compute with", fix="choose optimizer=NAME")
        for tag in node.get("tags") or ():
            if "," in tag or not tag.strip():
                raise UserError(f"tags has {tag!r}", fix="give words without commas, as tags=[paper,baseline]")
        parts = node["name"].split("/")
        if not node["name"].isprintable() or any(not part.strip() or part.startswith(".") for part in parts):
            what = (
                "name is empty"
                if not node["name"].strip()
                else f"name is {node['name']!r}, which names no folder of runs"
            )
            raise UserError(what, fix="give the folder of the runs a name, as name=mine")
        for name in node["trainer"].keys() & Trainer.REPLACED.keys():  # of a trainer of the user's own
            raise UserError(f"trainer.{name} is no key: speechml gives the class its own", fix=Trainer.REPLACED[name])
        if node.get("test", True) and node["trainer"].get("limit_test_batches") == 0:
            raise UserError("trainer.limit_test_batches is 0, so there would be no scores", fix="set test=false")
        check_score_keys(node)


def sections_with_monitor(config: Config) -> dict[str, Config]:
    """The sections that go by a score, which `monitor` of them names, by their keys."""
    callbacks = {f"callbacks.{name}": node for name, node in config.get("callbacks", {}).items()}
    scheduler = config.get("scheduler") or {}
    if str(scheduler.get("_target_")).endswith(".ReduceLROnPlateau"):
        scheduler = {"monitor": "val/loss", **scheduler}
    sections = {"checkpoint": config["checkpoint"], "scheduler": scheduler, **callbacks}
    return {
        where: node
        for where, node in sections.items()
        if isinstance(node, dict) and isinstance(node.get("monitor"), str)
    }


def sense_by_name(config: Config, score: object) -> bool | None:
    """Whether more of a score is better, by its name; None where the name is of a metric of the config, or none of ours."""
    metrics = config.get("metrics")
    own = isinstance(metrics, dict) and str(score).rpartition("/")[2] in metrics
    return None if own else is_higher_better(str(score))


def check_score_keys(config: Config, sense: Sense = sense_by_name) -> None:
    """Refuse a choice by what is no validation score, and a `mode` that is against the sense of its score."""
    goals = {"objective": config.get("objective"), "checkpoint.monitor": config["checkpoint"].get("monitor")}
    for where, score in goals.items():
        if score and not standard_name(score).startswith("val/"):
            raise UserError(f"{where} is {score}; choices are made on the validation split, as in {where}=val/loss")
    for where, node in sections_with_monitor(config).items():
        more, mode = sense(config, node["monitor"]), node.get("mode")
        if more is not None and mode == ("min" if more else "max"):
            better = "more" if more else "less"
            raise UserError(f"{where}.mode is {mode}, and {better} of {node['monitor']} is better", fix="leave it out")


def with_modes(config: Config, sense: Sense = sense_by_name) -> Config:
    """A copy of a config in which each `mode` that is null, or not given, is that of the score.

    Of callbacks and schedules `min` is what their classes take by themselves, and is left out as in configs of before.
    """

    def settle(node: object, usual: str = "min") -> object:
        if not isinstance(node, dict) or not isinstance(node.get("monitor"), str) or node.get("mode") is not None:
            return node
        mode = {True: "max", False: "min", None: None}[sense(config, node["monitor"])]
        return {**{k: v for k, v in node.items() if k != "mode"}, **({} if mode == usual else {"mode": mode})}

    callbacks = config.get("callbacks")
    if isinstance(callbacks, dict):
        callbacks = {name: settle(node) for name, node in callbacks.items()}
    settled = {"scheduler": settle(config.get("scheduler")), "callbacks": callbacks}
    settled["checkpoint"] = settle(config.get("checkpoint"), "")
    return {name: settled.get(name, node) for name, node in config.items()}


class EvaluateConfig(AppConfig):
    """The config of speechml-evaluate."""

    run: Path = key("the run that speechml-evaluate scores", allowed="folder of a run, or a checkpoint file")
    data: Config = key("other data to score the run on; null: the run's own", {})


def check_config(config: Config, schema: type[AppConfig] = TrainConfig, absent: Iterable[str] = ()) -> Config:
    """The config of an app, when it is checked, with the groups filled in that `GROUP=null` has left out.

    Args:
        config: composed, plain, every interpolation resolved.
        schema: of the app.
        absent: sections that may be missing although nothing can be built without them.

    Raises:
        UserError: a key that nothing reads, or a value that it cannot have.
    """
    config = fill_groups(config, schema)
    check_section(config, schema, absent=absent)
    return config


def fill_groups(config: Config, schema: type[AppConfig] = TrainConfig) -> Config:
    """A copy of a config with the groups that `GROUP=null` has left out, as far as there can be none of it."""
    sections = {name: known.default for name, known in keys_of(schema).items() if known.is_section}
    there = {name: node for name, node in empty_none(config).items() if node is not None or name not in sections}
    return {name: default for name, default in sections.items() if default is not REQUIRED} | there


def fill_keys(config: Config) -> Config:
    """A copy of a training's config with the keys that `~KEY` has left out, where a shipped config has them."""
    known = {name: entry for name, entry in keys_of(TrainConfig).items() if entry.default is not REQUIRED}
    filled: Config = {**{name: entry.default for name, entry in known.items()}, **config}
    for name, schema in {"checkpoint": Checkpoint, "init": Init, "logger": Logger, "trainer": Trainer}.items():
        own = {key: entry.default for key, entry in keys_of(schema).items() if name != "trainer" or key in TRAINER_KEYS}
        filled[name] = {**own, **filled.get(name, {})}
    return filled


def make_paths_absolute(config: Config) -> Config:
    """A copy of `config` whose data folders and files, and `init.from`, are absolute: a run can be scored from any folder."""
    data = dict(config["data"])
    for name, known in data_keys(data.get("_target_")).items():
        if known.is_path and isinstance(data.get(name), str):
            data[name] = str(expand_home(data[name]).absolute())
    if (init := config.get("init")) and init["from"]:
        config = {**config, "init": {**init, "from": str(expand_home(init["from"]).absolute())}}
    return {**config, "data": data}


def empty_none(config: Config) -> Config:
    """A config in which a section that builds nothing (`_target_: null`) is empty, whatever else was set of it."""
    nothing = [name for name, node in config.items() if isinstance(node, dict) and node.get("_target_", "") is None]
    return {**config, **{name: {} for name in nothing}}
