"""Hydra finds plugins here: a user's own config folders, and those of installed packages, which win over the packaged conf/."""

import os

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin


class SpeechmlSearchPath(SearchPathPlugin):
    """Puts the folders named in $SPEECHML_CONF (separated as in $PATH) in front of the packaged configs, and behind them
    the folder conf/ of each package with an entry point `speechml.plugins`."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        from speechml.config.instantiate import plugin_packages

        own = [folder for folder in os.environ.get("SPEECHML_CONF", "").split(os.pathsep) if folder]
        plugins = [os.path.join(os.path.dirname(path), "conf") for path in plugin_packages().values()]  # noqa: PTH118, PTH120 (as below)
        for folder in reversed([*own, *filter(os.path.isdir, plugins)]):
            search_path.prepend("speechml-user", "file://" + os.path.abspath(folder))  # noqa: PTH100 (pathlib is slow to import here)
