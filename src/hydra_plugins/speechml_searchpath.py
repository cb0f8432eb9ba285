"""Hydra finds plugins here: a user's own config folders, which win over the packaged conf/."""

import os

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin


class SpeechmlSearchPath(SearchPathPlugin):
    """Puts the folders named in $SPEECHML_CONF (separated as in $PATH) in front of the packaged configs."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        folders = [f for f in os.environ.get("SPEECHML_CONF", "").split(os.pathsep) if f]
        for folder in reversed(folders):
            search_path.prepend("speechml-user", "file://" + os.path.abspath(folder))  # noqa: PTH100 (pathlib is slow to import here)
