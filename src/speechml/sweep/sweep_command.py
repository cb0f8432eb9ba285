"""A sweep as Hydra hands it to a sweeper: its keys, its folder, and what computes its runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig

from speechml.config.compose import plain
from speechml.config.schema import Schema, check_section, keys_of
from speechml.errors import FolderBusy, UserError
from speechml.runs.folder import check_own_files, lock, translate_disk_errors
from speechml.storage.files import make_folder
from speechml.sweep import schema
from speechml.sweep.gpus import SharedGpus, visible_gpus
from speechml.sweep.jobs import Launcher
from speechml.sweep.local import InProcess, Pool, cores
from speechml.sweep.run_configs import Composer
from speechml.sweep.status import Progress

FEWEST = 8  # runs for which a further process is worth its start
Options = TypeVar("Options", bound=Schema)


@dataclass(frozen=True)
class SweepCommand:
    """What Hydra knows of a sweep."""

    config: DictConfig  # Hydra's own among it, without what the runs differ in
    loader: ConfigLoader
    arguments: list[str]  # overrides of the command line

    @property
    def folder(self) -> Path:
        """Of the sweep."""
        return Path(str(self.config.hydra.sweep.dir))

    @cached_property
    def composer(self) -> Composer:
        """What composes its runs; it keeps what they share."""
        return Composer(
            lambda words: self.loader.load_sweep_config(self.config, words),
            lambda key: bool(self.loader.get_group_options(key)),
            self.is_fused,
        )

    @property
    def is_fused(self) -> bool:
        """Whether runs that fit together are trained together."""
        return str(self.config.hydra.launcher["_target_"]) == "hydra_plugins.speechml_sweeps.FusedLauncher"

    def options(self, kind: type[Options]) -> Options:
        """The keys of its sweeper."""
        return read_options(self.config, "sweeper", kind)

    def open_launcher(self, progress: Progress | None, *, least: int = 1, most: int) -> Launcher:
        """What computes at least so many runs at a time, of at most so many, as hydra/launcher says.

        Args:
            progress: that is told of the runs of a grid; None for a search.

        Raises:
            UserError: a launcher that is not ours, or keys that it cannot have.
        """
        logs, together = self.folder / "logs", max(1, min(least, most))
        match self.config.hydra.launcher["_target_"]:
            case "hydra._internal.core_plugins.basic_launcher.BasicLauncher":
                return Pool(together, [], logs, progress) if together > 1 else InProcess(progress)
            case "hydra_plugins.speechml_sweeps.LocalLauncher":
                local = read_options(self.config, "launcher", schema.LocalLauncher)
                is_on_cpu = str((self.config.get("trainer") or {}).get("accelerator", "cpu")) in ("cpu", "mps")
                gpus = [] if is_on_cpu else visible_gpus()
                count = max(1, min(max(least, local.n_jobs or len(gpus) * local.per_gpu), most))
                if local.per_gpu == 1:
                    return Pool(count, gpus, logs, progress)
                if not gpus:
                    fix = "add trainer=gpu, or set hydra.launcher.n_jobs instead"
                    raise UserError("hydra.launcher.per_gpu is of GPUs, and the runs see none", fix=fix)
                return SharedGpus(count, gpus, local.per_gpu, logs, progress)
            case "hydra_plugins.speechml_sweeps.FusedLauncher":
                from speechml.sweep.fused import Fused, FusedPool

                options = read_options(self.config, "launcher", schema.FusedLauncher)
                processes = min(options.n_jobs or cores(), most // FEWEST)
                if processes > 1:
                    return FusedPool(together, processes, options.figures, logs, progress)
                return Fused(together, options.figures, progress)
            case "hydra_plugins.speechml_sweeps.SlurmLauncher":
                from speechml.sweep.slurm import SlurmLauncher

                jobs = read_options(self.config, "launcher", schema.SlurmLauncher)
                jobs.wait |= progress is None  # a search goes by what its runs come to
                return SlurmLauncher(jobs, self.folder, together, progress)
        chosen = self.config.hydra.runtime.choices["hydra/launcher"]
        raise UserError(
            f"hydra/launcher={chosen} cannot compute trainings; choose basic, local or slurm (or fused, for small networks)"
        )


def read_options(config: DictConfig, section: str, kind: type[Options]) -> Options:
    """The keys of hydra.sweeper or hydra.launcher, checked.

    Raises:
        UserError: a key that there is not, or a value that it cannot have.
    """
    node = plain(config.hydra[section], resolve=True)
    check_section(node, kind, f"hydra.{section}.")
    return options_of(kind, **node)


def options_of(kind: type[Options], **values: object) -> Options:
    """The keys of a section with these values, and their defaults for the others."""
    options = kind()
    vars(options).update({name: known.default for name, known in keys_of(kind).items()} | values)
    return options


JOURNAL = "journal.log"  # of a search's trials, in its folder


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Make a sweep's folder, and hold it alone.

    Raises:
        FolderBusy: another sweep has it.
        UserError: it cannot be written to.
    """
    make_folder(folder)
    with translate_disk_errors(folder), ExitStack() as stack:
        try:
            stack.enter_context(lock(folder))
        except FolderBusy as error:
            what = f"the same sweep is being computed by {error.owner}, in {folder}"
            fix = f"wait for it (speechml sweep wait {folder})"
            raise FolderBusy(error.folder, error.owner, what, fix) from error
        for path in folder.glob(
            f"{JOURNAL}.lock*"
        ):  # links that Optuna locks with, left by a kill or an error of the disk
            if path.is_symlink():
                path.unlink()
        check_own_files(folder)
        yield
