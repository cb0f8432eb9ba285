"""One run from its composed config to its scores: find its folder, build its parts, train, test, record."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from speechml.config.compose import resolve_config, simplify_overrides
from speechml.config.train_config import check_config, make_paths_absolute
from speechml.contracts import Config, Trial
from speechml.engine.checkpoint import find_latest
from speechml.engine.distributed import describe_lost_ranks, leave_group, processes
from speechml.engine.fit import fit_and_test
from speechml.engine.parts import Parts, build_data, build_parts
from speechml.engine.process_setup import prepare
from speechml.engine.rank_info import check_rank_counts, rank_info
from speechml.engine.resume import cut_logs, numerics
from speechml.engine.signals import Stop, Stopped
from speechml.errors import Pruned, UnknownScore, UserError
from speechml.report.audit import audit_data
from speechml.report.summary import summary_text
from speechml.runs.card import DataCard, PublishedCard, RunCard, load_card, save_card
from speechml.runs.folder import (
    LAST,
    PREVIOUS,
    LogFile,
    archive,
    checksums,
    code_version,
    describe_session,
    lock,
    remove_if_empty,
    translate_disk_errors,
)
from speechml.runs.identity import run_id
from speechml.storage.files import make_folder, write_text

log = logging.getLogger("speechml")


def launch(cfg: DictConfig, trial: Trial | None = None) -> float | None:
    """Train and test what a config describes, unless that is done; resume it where it stopped.

    Args:
        cfg: as Hydra composes it.
        trial: of a search that the run belongs to.

    Returns:
        The validation score that `objective` names, else `checkpoint.monitor`, for sweepers.

    Raises:
        UserError: an unknown key, unusable data, a run that another process is training.
        Pruned: the search that the run belongs to can do without it.
    """
    config = check_config(resolve_config(cfg))
    identity = run_id(cfg)
    config = make_paths_absolute(config)
    folder = Path(config["paths"]["runs"]) / config["name"] / identity
    prepare(config)
    rank = rank_info()
    check_rank_counts(rank, processes(config["trainer"]), int(config["trainer"]["num_nodes"] or 1))
    if rank is None:
        return _lead(config, folder, trial)
    from speechml.engine.cluster import follow, leader_session

    if rank.rank > 0:
        follow(rank, identity)
        return None
    with leader_session(rank, identity):
        return _lead(config, folder, trial)


def _lead(config: Config, folder: Path, trial: Trial | None) -> float | None:
    """`launch` on the first rank: build, take the folder, train and test, or say what is there already."""
    environment = dict(os.environ)
    data = build_data(config)
    if trial and trial.needs_validation and data.spec.validation_is_trained_on:
        raise UserError("a search needs a validation part that is not trained on", fix="set data.heldout above 0")
    parts = build_parts(config, data, folder, trial)
    if config["find_lr"]:
        from speechml.engine.lr_finder import report_rates

        report_rates(parts, folder.parents[1] / ".lr_finder" / config["name"] / folder.name)
        return None
    make_folder(folder)
    with translate_disk_errors(folder), lock(folder), remove_if_empty(folder):
        before = load_card(folder)
        if before and not config["redo"]:
            check_same_data(folder, before, data.card())
            if before.state == "done":
                return _report_done(config, folder, before)
        checkpoint = _prepare(folder, before, config["redo"])
        card = _begin(parts, folder, before.failures if before and not config["redo"] else 0)
        with _recording(folder, card, config["redo"], parts.stop, environment):
            results = fit_and_test(parts, folder, checkpoint, card.overrides, quiet=in_sweep())
            for name, value in vars(results).items():
                setattr(card, name, value)
            text = summary_text(folder, card)
            write_text(folder / "scores.txt", text + "\n")
            card.files, card.failures = checksums(folder), 0
        return _report(config, folder, card, text, parts.stop)


def overrides() -> list[str]:
    """What the command line, or the sweep, set, as it is typed."""
    from hydra.core.hydra_config import HydraConfig

    return simplify_overrides(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def in_sweep() -> bool:
    """Whether the run is one of several that a command launches, which prints a line each itself."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def check_same_data(folder: Path, card: RunCard, data_card: DataCard) -> None:
    """Refuse to continue, or to show as done, a run whose recordings have changed since.

    Raises:
        UserError: with both fingerprints.
    """
    if card.data.fingerprint != data_card.fingerprint:
        raise UserError(
            f"{folder} was made from other recordings",
            why=f"{card.data.fingerprint}, now {data_card.fingerprint}",
            fix="bring the old ones back, or add redo=true to train again (the old run is kept)",
        )


def _prepare(folder: Path, card: RunCard | None, redo: bool) -> Path | None:
    """Make room for the run: the checkpoint that it goes on from, or None where it begins."""
    if card and redo:
        print(f"the run that was here is kept in {archive(folder)}")
        return None
    return _checkpoint_to_resume(folder, card) if card else None


def _checkpoint_to_resume(folder: Path, card: RunCard) -> Path | None:
    """The checkpoint a stopped run continues from, TensorBoard's files cut to it; None where it has to begin again."""
    latest, quiet = find_latest(folder), in_sweep()
    how = {"running": "was cut off", "failed": "had failed", "stopped": "was stopped"}[card.state]
    if latest is None:
        if any((folder / "checkpoints" / name).exists() for name in (LAST, PREVIOUS)):
            kept = archive(folder)
            print(f"{folder} {how}, and has no usable checkpoint: it begins again; what was there is in {kept}")
        elif not quiet:
            print(f"{folder} {how} before its first checkpoint: it begins again")
        cut_logs(folder, {})
        return None
    path, content = latest
    cut_logs(folder, content["resume"]["logs"])
    if not quiet:
        print(f"resuming {folder}, which {how}, after step {content['global_step']} ({path.name})")
    then, now = content["resume"]["machine"], numerics()
    if changes := [f"{key} {then[key]}, now {now[key]}" for key in now if then[key] != now[key]]:
        print(f"note: it was saved with {'; '.join(changes)}: the last digits may differ from an undisturbed run's")
    return path


def _begin(parts: Parts, folder: Path, failures: int) -> RunCard:
    """Write config.yaml and the card of a run that begins or goes on; the card."""
    config = parts.config
    card = RunCard(
        id=folder.name, experiment=config["name"], state="running", **describe_session(),
        overrides=overrides(), seed=config["seed"], test_weights=config["checkpoint"]["test_weights"],
        data=parts.data.card(), audit=audit_data(parts.data).to_json(), published=PublishedCard.from_config(config["published"]),
        failures=failures,
    )  # fmt: skip
    write_text(folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(config)))
    save_card(folder, card)
    return card


@contextmanager
def _recording(folder: Path, card: RunCard, redo: bool, stop: Stop, environment: dict[str, str]) -> Iterator[None]:
    """Keep train.log, and the card true whatever happens inside."""
    handler = LogFile(folder / "train.log")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.info("%s %s: %s", card.experiment, card.id, card.command)
    if not in_sweep():
        print(f"training {folder}  {' '.join(card.overrides)}".rstrip(), file=sys.stderr, flush=True)
    try:
        with stop.listening():
            yield
        card.state = "done"
    except BaseException as error:
        outcome = _record_failure(error, folder, card, redo)
        if outcome is error:
            raise
        raise outcome from error
    finally:
        card.ended = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        leave_group(environment)
        log.info("%s", card.state)
        _save_last(folder, card)
        log.removeHandler(handler)
        handler.close()


def _record_failure(error: BaseException, folder: Path, card: RunCard, redo: bool) -> BaseException:
    """Write into the card how a run ended that did not come to its end; what is raised of it."""
    if isinstance(error, Pruned):
        card.state, card.pruned = "stopped", str(error)
        return error
    if isinstance(error, (KeyboardInterrupt, SystemExit)):
        stopped = error if isinstance(error, Stopped) else None
        card.state, card.stopped = "stopped", "stopped within a step, after which nothing was saved"
        if stopped:
            card.stopped = stopped.reason
        if not in_sweep():
            how = "the same command without redo=true" if redo else "the same command"
            print(f"\n{card.stopped}; {how} resumes {folder}", file=sys.stderr)
        return stopped or Stopped("SIGINT", None)  # Lightning makes exit code 1 of an interrupt
    card.state, card.error, card.failures = "failed", f"{type(error).__name__}: {error}", card.failures + 1
    log.exception("the run failed")
    if lost := describe_lost_ranks(error):
        return UserError(f"{folder}: {lost}", fix="the same command goes on from the last checkpoint")
    return error


def _save_last(folder: Path, card: RunCard) -> None:
    """Write the card of a run that has ended, should there be room for it."""
    try:
        save_card(folder, card)
    except OSError:  # the card then says that the run was cut off; an error that is under way counts more than this one
        if card.state == "done":
            raise


def _report(config: Config, folder: Path, card: RunCard, text: str, stop: Stop) -> float | None:
    """Print the scores, write the page, and give the value for sweepers."""
    if not in_sweep():
        print(text)
    if config["report"]:
        from speechml.report.pages import write_run_report

        page = write_run_report(folder)
        if page and not in_sweep():
            print(page)
    if stop.asked_by and in_sweep():  # too late to stop this run, but not those that would follow
        raise Stopped(stop.asked_by, None)
    return objective_value(config, card)


def _report_done(config: Config, folder: Path, card: RunCard) -> float | None:
    """Show a run that was done before."""
    if in_sweep():
        return objective_value(config, card)
    print("This run is done already; redo=true trains it again. Its scores:")
    now, then = code_version(), card.code
    if (now.commit, now.dirty) != (then.commit, then.dirty):
        versions = [f"{code.commit}{' with changes' * bool(code.dirty)}" for code in (then, now)]
        print(f"It was made by another version of the code (commit {versions[0]}, now {versions[1]}).")
    mine, before = now.own or {}, then.own or {}
    if changed := ", ".join(name for name in mine.keys() & before if mine[name] != before[name]):
        print(f"Your own code has changed since ({changed}); redo=true trains with it as it is now.")
    print(summary_text(folder, card))
    return objective_value(config, card)


def objective_value(config: Config, card: RunCard) -> float | None:
    """What a sweeper goes by: the score that `objective` names, else that of the best checkpoint.

    Raises:
        UnknownScore: the run has no such score.
    """
    goal = config["objective"]
    same = not goal or goal == config["checkpoint"]["monitor"]
    value = card.monitored if same else card.scores.get(goal)
    if value is None and goal:
        names: Sequence[str] = sorted(name for name in card.scores if name.startswith("val/"))
        raise UnknownScore(f"objective={goal} is no score of this run; it has {', '.join(names)}")
    return None if value is None else float(value)
