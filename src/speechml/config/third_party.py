"""The keys of what the shipped configs build of torch and lightning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from speechml.config.schema import Schema, key
from speechml.errors import UserError

# Those in which windows, filter banks and scores stay in float32; the other names of Lightning round them as well.
Precision = Literal["32-true", "bf16-mixed", "16-mixed", "32", "bf16", "16", 32, 16]


class Optimizer(Schema):
    """How weights follow their gradients."""

    lr: float = key("size of a step: too small learns slowly, too large diverges; find_lr=true plots which rates learn",
                    0.001, least=0)  # fmt: skip
    maximize: bool = key("true climbs the loss instead of lowering it", False)


class Gradient(Optimizer):
    """How weights follow their gradients, each step by the last batch."""

    weight_decay: float = key("pull of the weights towards 0 at every step; more keeps from learning by heart, too much "
                              "from learning", 0, least=0)  # fmt: skip
    foreach: bool | None = key("whether all weights are updated together: faster on a GPU; null: torch chooses", None)
    fused: bool | None = key("whether an update is one kernel: faster where there is one; null: torch chooses", None)
    differentiable: bool = key("whether a gradient can be taken through the step itself", False)


class SGD(Gradient):
    """Plain gradient descent."""

    momentum: float = key("share of the last step that the next one keeps", 0, least=0)
    dampening: float = key("share of the new gradient that momentum leaves out", 0, least=0)
    nesterov: bool = key("whether momentum looks a step ahead (Nesterov); needs momentum and no dampening", False)


class _Adam(Gradient):
    """What Adam and AdamW have in common."""

    betas: list[float] = key(
        "how slowly means of gradients and of their squares forget", [0.9, 0.999], least=0, below=1
    )
    eps: float = key("added to the root of the mean square: larger is steadier where gradients vanish", 1e-8, least=0)
    amsgrad: bool = key("whether the largest mean square so far counts (Reddi et al. 2018)", False)
    capturable: bool = key("whether the step can be part of a CUDA graph", False)


class Adam(_Adam):
    """A step size of its own for each weight, by its last gradients."""

    decoupled_weight_decay: bool = key("true decays weights as AdamW does", False)


class AdamW(_Adam):
    """Adam, with a pull of the weights towards 0."""

    weight_decay: float = key("pull of the weights towards 0 at every step; more keeps from learning by heart, too much "
                              "from learning", 0.01, least=0)  # fmt: skip


class LBFGS(Optimizer):
    """Curvature from the last gradients, for networks of some hundred parameters and large batches."""

    lr: float = key("size of a step; 1 where line_search_fn looks for the best one", 1, least=0)
    max_iter: int = key("iterations on each batch before the next one comes; more fit a batch closer, and take longer", 20,
                        unit="iterations", least=1)  # fmt: skip
    max_eval: int | None = key("evaluations of a batch at most; null: 1.25 times max_iter", None, least=1)
    tolerance_grad: float = key("a batch is done when no gradient is larger", 1e-7, least=0)
    tolerance_change: float = key("a batch is done when loss and weights change by less", 1e-9, least=0)
    history_size: int = key("last gradients that the curvature is estimated from; more are surer, and take memory", 100,
                            unit="gradients", least=1)  # fmt: skip
    line_search_fn: Literal["strong_wolfe"] | None = key(
        "strong_wolfe looks for a step that helps, so that lr=1 is safe; null takes steps of lr", None)  # fmt: skip


class CosineAnnealingLR(Schema):
    """The learning rate falls along half a cosine over the whole training."""

    eta_min: float = key("the learning rate at the end", 0.0, least=0)
    T_max: int | None = key("steps until the end; null: those of the whole training", None, unit="steps", least=1)
    last_epoch: int = key("step that the schedule begins after; -1: at the beginning", -1, unit="steps", least=-1)


class OneCycleLR(Schema):
    """The learning rate rises to a maximum, then falls, over the whole training."""

    max_lr: float = key("the learning rate at its highest; it begins at a 25th of that and ends near 0", above=0)
    pct_start: float = key("how long the learning rate rises before it falls; a longer rise is gentler, and leaves less time "
                           "to settle", 0.3, unit="share of the steps", least=0, most=1)  # fmt: skip
    total_steps: int | None = key("steps until the end; null: those of the whole training", None, unit="steps", least=1)
    anneal_strategy: Literal["cos", "linear"] = key("shape of the rise and the fall", "cos")
    cycle_momentum: bool = key("whether momentum falls while the rate rises", True)
    base_momentum: float = key("momentum where the rate is highest", 0.85, least=0, below=1)
    max_momentum: float = key("momentum at both ends", 0.95, least=0, below=1)
    div_factor: float = key("max_lr over the first learning rate", 25.0, above=0)
    final_div_factor: float = key("the first learning rate over the last one", 10000.0, above=0)
    three_phase: bool = key("whether the fall back to the first rate is a phase of its own", False)


class Trainer(Schema):
    """Where, how long and how exactly is computed: Lightning's Trainer."""

    accelerator: Literal["cpu", "gpu", "cuda", "mps", "tpu", "auto"] = key(
        "what computes; trainer=gpu, mps or ddp set it together with what belongs to it", "auto")  # fmt: skip
    devices: int | list[int] | str = key("processes or GPUs of each machine; each takes its share of every batch", "auto",
                                         allowed="as 2, [0, 3] or auto")  # fmt: skip
    num_nodes: int = key("machines that compute one run together, on a cluster", 1, unit="machines", least=1)
    strategy: str = key("how several processes work together; ddp averages their gradients at every step", "auto",
                        allowed="auto, ddp, or another of Lightning's")  # fmt: skip
    precision: Precision = key("digits of the computation: bf16-mixed is faster where the processor has it; scores are taken "
                               "in float32", "32-true")  # fmt: skip
    max_epochs: int = key("how often the training part is gone through; too few leave the network untrained, too many learn "
                          "by heart", 20, unit="epochs", least=1)  # fmt: skip
    max_steps: int = key("training stops after the epoch in which this many are reached; -1: max_epochs alone decides", -1,
                         unit="batches", least=-1)  # fmt: skip
    min_epochs: int | None = key("epochs that early stopping leaves alone", None, unit="epochs", least=0)
    min_steps: int | None = key("batches that early stopping leaves alone", None, unit="batches", least=0)
    max_time: str | dict[str, int] | None = key("training stops after this time, as 00:12:00:00; null: no limit", None)
    deterministic: Literal[True, False, "warn"] | None = key("true makes equal configs give equal numbers; on a GPU that "
                                                             "costs speed", None)  # fmt: skip
    benchmark: bool | None = key("whether cuDNN tries which algorithm is fastest; null: unless deterministic", None)
    gradient_clip_val: float | None = key("largest norm of the gradient, which longer ones are cut to; smaller is steadier "
                                          "and slower; null: not cut", None, above=0)  # fmt: skip
    gradient_clip_algorithm: Literal["norm", "value"] | None = key(
        "what gradient_clip_val bounds; null: the norm", None
    )
    accumulate_grad_batches: int = key("batches whose gradients are added up for one step", 1, unit="batches", least=1)
    check_val_every_n_epoch: int | None = key("validation and its checkpoint come this often; lowered to what divides "
                                              "max_epochs, so the last epoch has one", 1, unit="epochs", least=1)  # fmt: skip
    val_check_interval: int | float | None = key("validation within an epoch, after this many batches; null: after each epoch",
                                                 None, unit="batches, or a share up to 1.0", above=0)  # fmt: skip
    fast_dev_run: bool | int = key("true: one batch of each part to see whether it runs; no weights are kept (debug=fdr)",
                                   False, unit="batches", least=0)  # fmt: skip
    limit_train_batches: int | float | None = key("how much of the training part an epoch takes; for trying out "
        "(debug=limit); null: all", None, unit="batches, or a share up to 1.0", least=0)  # fmt: skip
    limit_val_batches: int | float | None = key("how much of the validation part is scored; for trying out "
        "(debug=limit); null: all", None, unit="batches, or a share up to 1.0", least=0)  # fmt: skip
    limit_test_batches: int | float | None = key("how much of the test part is scored; for trying out "
        "(debug=limit); null: all", None, unit="batches, or a share up to 1.0", least=0)  # fmt: skip
    limit_predict_batches: int | float | None = key("of no effect: nothing is predicted by the trainer", None, least=0)
    overfit_batches: int | float = key("trains on so few again and again, to see whether the network can learn at all "
        "(debug=overfit); 0: off", 0.0, unit="batches, or a share up to 1.0", least=0)  # fmt: skip
    profiler: Literal["simple", "advanced", "pytorch", "xla"] | None = key(
        "tells where the time goes when training is done (debug=profiler); null: it does not", None, effect=False)  # fmt: skip
    enable_progress_bar: bool | None = key("whether Lightning's own bar is shown beside ours", None, effect=False)
    enable_model_summary: bool | None = key("whether Lightning lists the layers at the start", None, effect=False)
    log_every_n_steps: int | None = key(
        "how often Lightning logs within an epoch", None, unit="steps", least=0, effect=False
    )
    num_sanity_val_steps: int | None = key(
        "validation batches before training, to see whether they run", None, least=-1
    )
    enable_checkpointing: bool | None = key("of no effect: checkpoints are speechml's own, see checkpoint", None)
    logger: bool | None = key("false leaves out all loggers; see logger", None)
    inference_mode: bool = key("whether scoring runs under torch.inference_mode", True)
    use_distributed_sampler: bool = key("of no effect: each process's share is speechml's own", True)
    detect_anomaly: bool = key("whether torch looks for the operation that a NaN comes from; slow", False)
    barebones: bool = key("whether Lightning leaves out whatever costs time, for measuring it", False)
    sync_batchnorm: bool = key("whether processes share the statistics of batch normalisation", False)
    reload_dataloaders_every_n_epochs: int = key("how often loaders are made anew; 0: never", 0, unit="epochs", least=0)
    default_root_dir: str | None = key("folder of what Lightning itself writes; null: the run's", None)
    enable_autolog_hparams: bool = key("whether Lightning logs hyperparameters by itself", True)
    model_registry: str | None = key("name by which Lightning publishes a model; null: it does not", None)

    @classmethod
    def check(cls, node: Mapping[str, Any], where: str) -> None:
        for name in ("limit_train_batches", "limit_val_batches", "limit_test_batches", "overfit_batches"):
            value = node.get(name)
            if isinstance(value, float) and value > 1:
                raise UserError(
                    f"{where}{name} is {value}", fix="it can be a share up to 1.0, or a whole number of batches"
                )


SCHEMAS: dict[str, type[Schema]] = {
    "torch.optim.SGD": SGD, "torch.optim.Adam": Adam, "torch.optim.AdamW": AdamW, "torch.optim.LBFGS": LBFGS,
    "torch.optim.lr_scheduler.CosineAnnealingLR": CosineAnnealingLR, "torch.optim.lr_scheduler.OneCycleLR": OneCycleLR,
    "lightning.pytorch.Trainer": Trainer, "lightning.Trainer": Trainer,
}  # fmt: skip
