"""A run's composed config as plain text, so that another process or machine starts it without replaying a command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict

KEPT = ("mode", "sweep.dir", "job.name", "job.num", "job.config_name", "overrides.task", "runtime.choices", "sweeper")


def frozen(cfg: DictConfig, number: int) -> dict[str, Any]:
    """A composed config with Hydra's part as plain values, interpolations kept: the id depends on them.

    Args:
        cfg: as Hydra composes it for a run of a sweep, and has made it known.
        number: of the run in the sweep.
    """
    hydra: dict[str, Any] = {}
    for key in KEPT:
        value = OmegaConf.select(cfg.hydra, key)
        hydra[key] = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    hydra |= {"mode": "MULTIRUN", "job.num": number, "sweep.dir": str(Path(str(cfg.hydra.sweep.dir)).absolute())}
    config: Any = OmegaConf.to_container(OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"]))
    # Where the runs are is decided here, where the cache is on the machine that computes: it may be a disk of its own.
    config["paths"]["runs"] = str(Path(str(cfg.paths.runs)).absolute())
    return {"config": config, "hydra": hydra}


def thawed(content: dict[str, Any]) -> DictConfig:
    """The config of a frozen run, with Hydra's part made known to the process."""
    from hydra.conf import HydraConf
    from hydra.core.hydra_config import HydraConfig
    from hydra.core.utils import setup_globals

    import speechml.config.resolvers  # noqa: F401 (registers them)

    setup_globals()  # what `${hydra:...}` means
    whole = OmegaConf.create({"hydra": HydraConf()})
    with open_dict(whole):
        for key, value in content["hydra"].items():
            OmegaConf.update(whole.hydra, key, value, merge=False, force_add=True)
    HydraConfig.instance().set_config(whole)
    cfg = OmegaConf.create(content["config"])
    OmegaConf.set_struct(cfg, True)
    return cfg
