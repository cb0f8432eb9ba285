"""The config of an app from somewhere else than the app: from a tool, a notebook or a test."""

from __future__ import annotations

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict

from speechml.config.compose import adapt_overrides, conf_dir
from speechml.config.hydra_compat import compose_with_sources
from speechml.config.refusals import translate_hydra_errors


def compose_app(config_name: str, overrides: list[str]) -> DictConfig:
    """The config of an app with some overrides, as the app gets it.

    Raises:
        UserError: an override that Hydra does not understand, or that describes several configs.
    """
    words = adapt_overrides(overrides, config_name)
    with translate_hydra_errors(words, is_single=True):
        cfg = compose_with_sources(conf_dir(), config_name, words).cfg
    HydraConfig.instance().set_config(cfg)
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg
