"""speechml-train, a Hydra app: config -> run -> fit -> test -> scores. Called from Python, see `speechml.api.train`."""

from __future__ import annotations

import sys

import hydra
from omegaconf import DictConfig

from speechml.cli.hydra_app import run_app, run_job
from speechml.config.compose import conf_dir
from speechml.lazy import CalledModule
from speechml.sweep.training import train_checked

sys.modules[__name__].__class__ = CalledModule


@hydra.main(config_path=conf_dir(), config_name="train", version_base="1.3")
def app(cfg: DictConfig) -> float | None:
    return run_job(train_checked, cfg)


def main() -> None:
    """Entry point of `speechml-train`."""
    run_app(app, "train")


if __name__ == "__main__":
    main()
