"""speechml-evaluate, a Hydra app: score a finished run, on its own data or on other data."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from speechml.cli.hydra_app import run_app, run_job
from speechml.config.compose import conf_dir, resolve_config
from speechml.config.train_config import EvaluateConfig, check_config


@hydra.main(config_path=conf_dir(), config_name="evaluate", version_base="1.3")
def app(cfg: DictConfig) -> None:
    run_job(score, cfg)


def score(cfg: DictConfig) -> None:
    """Check the config, then load torch and lightning and score the run."""
    check_config(resolve_config(cfg), EvaluateConfig)
    from speechml.engine.evaluate import evaluate

    evaluate(cfg)


def main() -> None:
    """Entry point of `speechml-evaluate`."""
    run_app(app, "evaluate")


if __name__ == "__main__":
    main()
