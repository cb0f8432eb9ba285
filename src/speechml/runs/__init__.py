"""A run on disk: its identity, its folder, its card, its checkpoints. Called, it lists runs: see `speechml.api.runs`."""

import sys

from speechml.lazy import CalledModule

sys.modules[__name__].__class__ = CalledModule
