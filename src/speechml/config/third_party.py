"""The keys of what the shipped configs build of torch and lightning."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from speechml.config.schema import Key, Schema, key, refuse_value
from speechml.contracts import Config
from speechml.errors import UserError

# Those in which windows, filter banks and scores stay in float32; the other names of Lightning round them as well.
Precision = Literal["32-true", "bf16-mixed", "16-mixed", "32", "bf16", "16", 32, 16]

COPYING = ("ddp_spawn", "ddp_fork", "ddp_notebook")  # Lightning's, which would start copies of the process that trains

BATCHES = "batches, or a share up to 1.0"
FLAG, SWITCH = bool, bool | None
SHARE = Key("", kind=float, least=0, below=1)
EMPTY = {
    "limit_train_batches": "nothing would be trained", "limit_val_batches": "the best weights could not be found",
}  # fmt: skip
LIMIT = "how much of the {} part is used; for trying out (debug=limit); null: all"


class Optimizer(Schema):
    """How weights follow their gradients."""

    lr: float = key("size of a step: too small learns slowly, too large diverges; find_lr=true plots which rates learn",
                    0.001, least=0)  # fmt: skip


class Gradient(Optimizer):
    """How weights follow their gradients, each step by the last batch."""

    FURTHER: ClassVar = {
        "maximize": Literal[False],
        "foreach": SWITCH,
        "fused": SWITCH,
        "differentiable": Literal[False],
    }
    weight_decay: float = key("pull of the weights towards 0 at every step; more reduces overfitting, too much "
                              "hinders learning", 0, least=0)  # fmt: skip


class SGD(Gradient):
    """Plain gradient descent."""

    momentum: float = key("share of the last step that the next one keeps", 0, least=0, below=1)
    dampening: float = key("share of the new gradient that momentum leaves out", 0, least=0, most=1)
    nesterov: bool = key("whether momentum looks a step ahead (Nesterov); needs momentum and no dampening", False)

    @classmethod
    def check(cls, node: Config, where: str) -> None:
        if node.get("nesterov") and (not node.get("momentum") or node.get("dampening")):
            raise UserError(f"{where}nesterov needs {where}momentum above 0, and no {where}dampening")


class _Adam(Gradient):
    """What Adam and AdamW have in common."""

    FURTHER: ClassVar = Gradient.FURTHER | {"capturable": FLAG}
    betas: list[float] = key(
        "how slowly means of gradients and of their squares forget", [0.9, 0.999], least=0, below=1
    )
    eps: float = key("added to the root of the mean square: larger is steadier where gradients vanish", 1e-8, least=0)
    amsgrad: bool = key("whether the largest mean square so far counts (Reddi et al. 2018)", False)

    @classmethod
    def check(cls, node: Config, where: str) -> None:
        if len(betas := node.get("betas", [0.9, 0.999])) != 2:
            raise refuse_value(f"{where}betas", betas, "it must be two numbers")


class Adam(_Adam):
    """A step size of its own for each weight, by its last gradients."""

    FURTHER: ClassVar = _Adam.FURTHER | {"decoupled_weight_decay": FLAG}


class AdamW(_Adam):
    """Adam, with a pull of the weights towards 0."""

    weight_decay: float = key("pull of the weights towards 0 at every step; more reduces overfitting, too much "
                              "hinders learning", 0.01, least=0)  # fmt: skip


class LBFGS(Optimizer):
    """Curvature from the last gradients, for networks of some hundred parameters and large batches."""

    FURTHER: ClassVar = {
        "max_eval": int | None, "tolerance_grad": float, "tolerance_change": float, "maximize": Literal[False],
    }  # fmt: skip
    lr: float = key("size of a step; 1 where line_search_fn looks for the best one", 1, least=0)
    max_iter: int = key("iterations on each batch before the next one comes; more fit a batch closer, and take longer", 20,
                        unit="iterations", least=1)  # fmt: skip
    history_size: int = key("last gradients that the curvature is estimated from; more are surer, and take memory", 100,
                            unit="gradients", least=1)  # fmt: skip
    line_search_fn: Literal["strong_wolfe"] | None = key(
        "strong_wolfe looks for a step that helps, so that lr=1 is safe; null takes steps of lr", None)  # fmt: skip


class Schedule(Schema):
    """How the learning rate changes."""

    interval: Literal["step", "epoch"] | None = key("when the learning rate moves on, and what its lengths count; null: as is "
                                                    "usual for the schedule", None, later=True)  # fmt: skip


PER_EPOCH = frozenset(f"torch.optim.lr_scheduler.{name}" for name in ("StepLR", "MultiStepLR", "ExponentialLR"))


def interval_of(node: Config) -> str:
    """When a schedule moves on: `step` or `epoch`, as its node says, else as is usual for its class."""
    return str(node.get("interval") or ("epoch" if node.get("_target_") in PER_EPOCH else "step"))


class Trainer(Schema):
    """Lightning's Trainer: what computes, for how long, and how precisely."""

    FURTHER: ClassVar = {
        "benchmark": SWITCH,
        "gradient_clip_algorithm": Literal["norm", "value"] | None, "limit_predict_batches": int | float | None,
        "num_sanity_val_steps": int | None, "inference_mode": FLAG,
        "detect_anomaly": FLAG, "sync_batchnorm": FLAG,
        "reload_dataloaders_every_n_epochs": int, "enable_autolog_hparams": FLAG,
    }  # fmt: skip
    OURS: ClassVar = ("compile", "ema")  # which speechml acts upon, and Lightning does not know
    REPLACED: ClassVar[dict[str, str]] = {
        "callbacks": "set callbacks.NAME={_target_: ...}",
        "plugins": "leave it out, and set trainer.precision or trainer.strategy",
        "logger": "choose logger=[tensorboard,csv], or set logger.NAME={_target_: ...}",
        "default_root_dir": "set paths.runs",
        "enable_checkpointing": "checkpoints are always kept; checkpoint.monitor says of which epoch",
        "use_distributed_sampler": "leave it out: each batch is divided among the processes already",
        "model_registry": "leave it out: speechml export writes a network for others",
        "barebones": "leave it out: a run has scores and checkpoints; trainer.fast_dev_run=true tries it out",
    }
    accelerator: Literal["cpu", "gpu", "cuda", "mps", "tpu", "auto"] = key(
        "what computes; trainer=gpu, mps or ddp set it together with what belongs to it", "auto")  # fmt: skip
    devices: int | list[int] | str = key("processes or GPUs of each machine; each takes its share of every batch", "auto",
                                         allowed="as 2, [0, 3] or auto")  # fmt: skip
    num_nodes: int = key("machines that compute one run together, on a cluster", 1, unit="machines", least=1)
    strategy: str = key("how several processes work together; ddp averages their gradients at every step", "auto",
                        allowed="auto, ddp, or another of Lightning's")  # fmt: skip
    precision: Precision = key("digits of the computation: bf16-mixed is faster where the processor has it; scores are taken "
                               "in float32", "32-true")  # fmt: skip
    max_epochs: int = key("how often the training split is gone through; too few leave the network untrained, too many "
                          "overfit", 20, unit="epochs", least=-1,
                          allowed="-1 sets no limit, for a run with trainer.max_steps")  # fmt: skip
    max_steps: int = key("training stops after the epoch in which this many are reached; -1: max_epochs alone decides", -1,
                         unit="optimizer steps", least=-1)  # fmt: skip
    min_epochs: int | None = key(
        "no early stopping, and no max_time, ends training before", None, unit="epochs", least=0
    )
    min_steps: int | None = key("no early stopping, and no max_time, ends training before", None, unit="optimizer steps",
                                least=0)  # fmt: skip
    max_time: str | Config | None = key("training stops when this is over, after one epoch at least; null: never", None,
                                        allowed="as 00:12:00:00, which is 12 hours, or {hours: 12}")  # fmt: skip
    deterministic: Literal[True, False, "warn"] | None = key("true makes equal configs give equal numbers; on a GPU that "
                                                             "costs speed", None)  # fmt: skip
    gradient_clip_val: float | None = key("largest norm of the gradient, which longer ones are cut to; smaller is steadier "
                                          "and slower; null: not cut", None, above=0)  # fmt: skip
    accumulate_grad_batches: int = key("batches whose gradients are added up for one step", 1, unit="batches", least=1)
    check_val_every_n_epoch: int | None = key("validation and its checkpoint come this often; lowered to what divides "
                                              "max_epochs, so the last epoch has one", 1, unit="epochs", least=1)  # fmt: skip
    val_check_interval: int | float | None = key("validation within an epoch, after this many batches or this share of "
                                                 "it; null: at its end", None, unit=BATCHES, above=0)  # fmt: skip
    fast_dev_run: bool | int = key("true: one batch of each split to see whether it runs; no weights are kept (debug=fdr)",
                                   False, unit="batches", least=0)  # fmt: skip
    limit_train_batches: int | float | None = key(LIMIT.format("training"), None, unit=BATCHES, least=0)
    limit_val_batches: int | float | None = key(LIMIT.format("validation"), None, unit=BATCHES, least=0)
    limit_test_batches: int | float | None = key(LIMIT.format("test"), None, unit=BATCHES, least=0)
    overfit_batches: int | float = key("trains on so few again and again, to see whether the network can learn at all "
        "(debug=overfit); 0: off", 0.0, unit=BATCHES, least=0)  # fmt: skip
    profiler: Literal["simple", "advanced", "pytorch", "xla"] | None = key(
        "tells where the time goes when training is done (debug=profiler); null: it does not", None, effect=False)  # fmt: skip
    compile: bool = key("the network is compiled for training (torch.compile), which starts slowly and may pay in a long "
                        "one; scores are not", False, later=True)  # fmt: skip
    ema: float | None = key("a moving average of the weights is validated, kept and tested; 0.999 looks back about 1,000 steps; "
                            "null: no average", None, unit="share", above=0, below=1, later=True)  # fmt: skip
    enable_progress_bar: bool | None = key("whether Lightning's own bar is shown beside ours", None, effect=False)
    enable_model_summary: bool | None = key("whether Lightning lists the layers at the start", None, effect=False)
    log_every_n_steps: int | None = key(
        "how often Lightning logs within an epoch", None, unit="steps", least=0, effect=False
    )

    @classmethod
    def check(cls, node: Config, where: str) -> None:
        epochs, steps = node.get("max_epochs", 1), node.get("max_steps", -1)
        if steps == 0:
            raise refuse_value(
                f"{where}max_steps", steps, "nothing would be trained; it must be at least 1, or -1 for no limit"
            )
        if epochs == 0 or (epochs == -1 and steps < 1):
            raise refuse_value(f"{where}max_epochs", epochs, f"it must be at least 1, or {where}max_steps be given")
        for unit, most in (("epochs", epochs), ("steps", steps)):
            if 0 < most < (node.get(f"min_{unit}") or 0):
                raise refuse_value(
                    f"{where}min_{unit}", node[f"min_{unit}"], f"{where}max_{unit} is {most}; raise that"
                )
        devices = node.get("devices", "auto")
        if isinstance(devices, str) and not re.fullmatch(r"auto|-1|\d+(,\d*)*", devices):
            raise refuse_value(f"{where}devices", devices, "it must be auto, a number, or numbers as [0, 3]")
        if (strategy := node.get("strategy", "auto")).startswith(COPYING):
            raise refuse_value(
                f"{where}strategy", strategy, "it starts copies of this process; choose ddp, which does not"
            )
        for name in ("limit_train_batches", "limit_val_batches", "limit_test_batches", "overfit_batches"):
            value = node.get(name)
            if value == 0 and (why := EMPTY.get(name)):
                raise refuse_value(f"{where}{name}", value, f"{why}; set 1 at least")
            if isinstance(value, float) and value > 1:
                raise refuse_value(f"{where}{name}", value, "it can be a share up to 1.0, or a whole number of batches")
