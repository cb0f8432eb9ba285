"""speechml-train, a Hydra app: config -> run -> fit -> test -> scores."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from speechml.cli.hydra_app import run_app, run_job
from speechml.config.compose import conf_dir, resolve_config
from speechml.config.train_config import check_config
from speechml.engine.rank_info import rank_info
from speechml.errors import UserError


@hydra.main(config_path=conf_dir(), config_name="train", version_base="1.3")
def app(cfg: DictConfig) -> float | None:
    return run_job(train, cfg)


def train(cfg: DictConfig) -> float | None:
    """Check the config, then load torch and lightning and train."""
    rank = rank_info()
    try:
        check_config(resolve_config(cfg))
    except UserError:
        if rank and rank.rank > 0:  # rank 0 is refused alike, and says so
            return None
        raise
    from speechml.sweep.trial import train_trial

    return train_trial(cfg)


def main() -> None:
    """Entry point of `speechml-train`."""
    run_app(app, "train")


if __name__ == "__main__":
    main()
