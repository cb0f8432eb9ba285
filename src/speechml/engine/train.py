"""One run from its composed config to its scores: find its folder, build its parts, train, test, record."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from speechml.config.compose import resolve_config, simplify_overrides, without_secrets
from speechml.config.train_config import check_config, fill_keys, make_paths_absolute
from speechml.contracts import Config, Trial
from speechml.engine.checkpoint import find_latest
from speechml.engine.distributed import check_rank_counts, count_processes, rank_info
from speechml.engine.fit import fit_and_test
from speechml.engine.parts import Parts, build_data, build_parts
from speechml.engine.resume import EVENTS, cut_logs, numerics
from speechml.engine.signals import Stop, Stopped
from speechml.errors import Pruned, UserError, echo
from speechml.process import prepare_process
from speechml.report.audit import audit_data
from speechml.report.summary import summary_text
from speechml.runs.card import DataCard, PublishedCard, RunCard, load_card, save_card
from speechml.runs.folder import (
    PAGE,
    LogFile,
    LogFormat,
    archive,
    check_own_files,
    checksums,
    code_version,
    describe_session,
    kept_files,
    lock,
    missing_files,
    remove_if_empty,
    translate_disk_errors,
)
from speechml.runs.identity import run_id
from speechml.storage.files import make_durable, make_folder, write_text

log = logging.getLogger("speechml")


def train(cfg: DictConfig, trial: Trial | None = None) -> float | None:
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
    config = make_paths_absolute(fill_keys(check_config(resolve_config(cfg))))
    folder = Path(config["paths"]["runs"]) / config["name"] / run_id(cfg)
    prepare_process(config["threads"])
    rank = rank_info()
    check_rank_counts(rank, count_processes(config["trainer"]), int(config["trainer"]["num_nodes"] or 1))
    if rank is None:
        return _lead(config, folder, trial)
    from speechml.engine.ranks import follow, leader_session

    if rank.rank > 0:
        follow(rank, folder.name)
        return None
    with leader_session(rank, folder.name):
        return _lead(config, folder, trial)


def _lead(config: Config, folder: Path, trial: Trial | None) -> float | None:
    """`train` on the first rank: build, take the folder, train and test, or say what is there already."""
    data = build_data(config)
    if trial and trial.needs_validation and data.spec.validation_is_trained_on:
        raise UserError("a search needs a validation split that is not trained on", fix="set data.heldout above 0")
    parts = build_parts(config, data, folder, trial)
    if config["find_lr"]:
        from speechml.engine.lr_finder import report_rates

        report_rates(parts, folder.parents[1] / ".lr_finder" / config["name"] / folder.name)
        return None
    make_folder(folder)
    with translate_disk_errors(folder), lock(folder), remove_if_empty(folder):
        check_own_files(folder)
        before = load_card(folder)
        if before and config["redo"]:
            echo(f"the run that was here is kept in {archive(folder)}")
            before = None
        if before:
            check_same_data(folder, before, data.card())
            if before.state == "done" and not _lacks_scoring(folder, before):
                return _report_done(config, folder, before)
        checkpoint = _checkpoint_to_resume(folder, before) if before else None
        card = _begin(parts, folder, before.failures if before else 0)
        with _recording(folder, card, parts), _other_ranks(config, folder, checkpoint):
            fit_and_test(parts, folder, checkpoint, card)
            text = summary_text(folder, card)
            write_text(folder / "scores.txt", text + "\n")
            for path in (*kept_files(folder), *folder.glob(EVENTS)):
                make_durable(path)  # before the card says so
            card.files, card.page, card.failures = checksums(folder), bool(config["report"]), 0
        if before and before.state == "done" and before.scores != card.scores:
            echo(f"note: scored again, {folder} has other scores than before")
        value = _report(config, folder, card, text, parts.stop)
        if config["trainer"].get("profiler") and not in_sweep():
            from speechml.engine.profiling import write_profile

            echo(write_profile(parts.trainer.profiler, folder))  # type: ignore[attr-defined] # of a trainer
        return value


def in_sweep() -> bool:
    """Whether the run is one of several that a command launches, which prints a line each itself."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def check_same_data(folder: Path, card: RunCard, data_card: DataCard) -> None:
    """Raises UserError where the recordings of a run, which is to go on or is done, have changed since."""
    if card.data.fingerprint != data_card.fingerprint:
        raise UserError(
            f"{folder} was made from other recordings",
            why=f"{card.data.fingerprint}, now {data_card.fingerprint}",
            fix="bring the old ones back, or add redo=true to train again (the old run is kept)",
        )


def _lacks_scoring(folder: Path, card: RunCard) -> bool:
    """Whether a run that is done has lost what only scoring it again gives, and still has what that takes."""
    missing = [name for name in missing_files(folder, card) if name not in ("scores.txt", PAGE)]
    if not missing:
        return False
    echo(f"{folder} lacks {', '.join(missing)}")
    return not any(name.startswith("checkpoints/") for name in missing) and find_latest(folder) is not None


def _checkpoint_to_resume(folder: Path, card: RunCard) -> Path | None:
    """The checkpoint a stopped run continues from, TensorBoard's files cut to it; None where it has to begin again."""
    latest, quiet = find_latest(folder), in_sweep()
    how = {"running": "was cut off", "failed": "had failed", "stopped": "was stopped", "done": "was done"}[card.state]
    if latest is None:
        if any(folder.glob("checkpoints/*")):
            old = archive(folder)
            echo(f"{folder} {how}, and has no usable checkpoint: it begins again; what was there is in {old}")
        elif not quiet:
            echo(f"{folder} {how} before its first checkpoint: it begins again")
        cut_logs(folder, {})
        return None
    path, content = latest
    cut_logs(folder, content["resume"]["logs"])
    if not quiet:
        echo(f"resuming {folder}, which {how}, after step {content['global_step']} ({path.name})")
    if lost := content["resume"].get("lost"):
        echo(f"note: {', '.join(lost)} had been changed by a callback, and no state_dict keeps it: "
              "the results may differ from an undisturbed run's")  # fmt: skip
    then, now = content["resume"]["machine"], numerics()
    if changes := [f"{key} {then.get(key)}, now {now[key]}" for key in now if then.get(key) != now[key]]:
        echo(f"note: it was saved with {'; '.join(changes)}: the last digits may differ from an undisturbed run's")
    return path


def _begin(parts: Parts, folder: Path, failures: int) -> RunCard:
    """Write config.yaml and the card of a run that begins or goes on; the card."""
    from hydra.core.hydra_config import HydraConfig

    config = parts.config
    overrides = simplify_overrides(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    session = describe_session(["speechml-train", *overrides] if in_sweep() else None)  # the run's, not its sweep's
    card = RunCard(
        id=folder.name, experiment=config["name"], state="running", **session,
        overrides=overrides, seed=config["seed"], test_weights=config["checkpoint"]["test_weights"],
        data=parts.data.card(), audit=audit_data(parts.data).to_json(), published=PublishedCard.from_config(config["published"]),
        failures=failures,
    )  # fmt: skip
    text, shown = (OmegaConf.to_yaml(OmegaConf.create(content)) for content in (config, without_secrets(config)))
    if shown != text and count_processes(config["trainer"]) > 1:
        why = "it is kept out of config.yaml, from which the other processes are started"
        raise UserError("the config holds a password or token", why, "let your class read it from the environment")
    write_text(folder / "config.yaml", shown)
    save_card(folder, card)
    return card


@contextmanager
def _other_ranks(config: Config, folder: Path, checkpoint: Path | None) -> Iterator[None]:
    """Inside, the further processes of a run train with this one, where it has some."""
    processes = count_processes(config["trainer"])
    if processes == 1 and config["trainer"].get("strategy", "auto") == "auto":
        yield
        return
    from speechml.engine.ranks import other_ranks

    with other_ranks(rank_info(), processes, folder, checkpoint):
        yield


@contextmanager
def _recording(folder: Path, card: RunCard, parts: Parts) -> Iterator[None]:
    """Keep train.log, and the card true whatever happens inside."""
    handler = LogFile(folder / "train.log")
    handler.setFormatter(LogFormat("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        with parts.stop.listening():
            log.info("%s %s: %s", card.experiment, card.id, card.command)
            if not in_sweep():
                echo(f"training {folder}  {' '.join(card.overrides)}".rstrip(), file=sys.stderr)
                echo(parts.task.describe(), file=sys.stderr, flush=True)
            yield
        card.state = "done"
    except (KeyboardInterrupt, SystemExit) as error:
        card.state, card.stopped = "stopped", "stopped within a step, after which nothing was saved"
        if isinstance(error, Stopped):
            card.stopped = error.reason
        if not in_sweep():
            how = "the same command without redo=true" if parts.config["redo"] else "the same command"
            echo(f"\n{card.stopped}; {how} resumes {folder}", file=sys.stderr)
        if isinstance(error, Stopped):
            raise
        raise Stopped("SIGINT", None) from error  # Lightning makes exit code 1 of an interrupt
    except Pruned as pruned:
        card.state, card.pruned = "stopped", str(pruned)
        raise
    except Exception as error:
        card.state, card.failures = "failed", card.failures + 1
        card.error = f"{type(error).__name__}: {error}"
        log.exception("the run failed")
        raise
    finally:
        card.ended = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        log.info("%s", card.state)
        with suppress(OSError) if card.state != "done" else nullcontext():  # no room: the error under way counts more
            save_card(folder, card)
        log.removeHandler(handler)
        handler.close()


def _report(config: Config, folder: Path, card: RunCard, text: str, stop: Stop) -> float | None:
    """Print the scores, write the page, and give the value for sweepers."""
    for warning in (card.warnings or []) if in_sweep() else ():
        echo(f"{folder}: {warning}", file=sys.stderr)
    if not in_sweep():
        echo(text)
    if config["report"]:
        from speechml.report.pages import write_run_report

        page = write_run_report(folder)
        if page and not in_sweep():
            echo(page)
    if stop.asked_by and in_sweep():  # too late to stop this run, but not those that would follow
        raise Stopped(stop.asked_by, None)
    return _objective_value(config, card)


def _report_done(config: Config, folder: Path, card: RunCard) -> float | None:
    """Show a run that was done before; what has yet to be written of it is written."""
    scores = folder / "scores.txt"
    if not scores.exists():
        write_text(scores, summary_text(folder, card) + "\n")
    page = ""
    if (config["report"] or card.page) and not (folder / PAGE).exists():
        from speechml.report.pages import write_run_report

        page = write_run_report(folder)
    if in_sweep():
        return _objective_value(config, card)
    echo("This run is done already; redo=true trains it again. Its scores:")
    now, then = code_version(), card.code
    if (now.commit, now.dirty) != (then.commit, then.dirty):
        versions = [f"{code.commit}{' with changes' * bool(code.dirty)}" for code in (then, now)]
        echo(f"It was made by another version of the code (commit {versions[0]}, now {versions[1]}).")
    mine, before = now.own or {}, then.own or {}
    if changed := ", ".join(name for name in mine.keys() & before if mine[name] != before[name]):
        echo(f"Your own code has changed since ({changed}); redo=true trains with it as it is now.")
    echo(summary_text(folder, card))
    if page:
        echo(page)
    return _objective_value(config, card)


def _objective_value(config: Config, card: RunCard) -> float | None:
    return card.objective_value(config["objective"], config["checkpoint"]["monitor"])
