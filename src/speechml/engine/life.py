"""The life of a run: it is opened, its network is trained by whoever leads it, it is tested and recorded."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from omegaconf import OmegaConf

from speechml.config.compose import in_sweep, simplify_overrides, without_secrets
from speechml.contracts import Config, Trial
from speechml.engine.distributed import count_processes, rank_info
from speechml.engine.fit import begin_fit, explain_failing_callbacks, score, tracking
from speechml.engine.parts import Parts, build_data, build_parts
from speechml.engine.resume import log_files
from speechml.engine.signals import Stop, Stopped
from speechml.errors import Pruned, UserError, echo
from speechml.report.audit import audit_data
from speechml.report.summary import summary_text
from speechml.runs.card import CARD, PublishedCard, Record, RunCard, load_card, save_card
from speechml.runs.folder import (
    LogFile,
    LogFormat,
    check_own_files,
    checksums,
    describe_session,
    kept_files,
    labels_of,
    lock,
    remove_if_empty,
    translate_disk_errors,
)
from speechml.storage.files import make_durable, make_folder, write_text

if TYPE_CHECKING:
    from speechml.engine.parts import Data
    from speechml.engine.warm_start import Start

log = logging.getLogger("speechml")


@dataclass(frozen=True)
class OpenRun:
    """A run whose folder this process holds, and whose network is to be trained.

    Attributes:
        checkpoint: to go on from; None: from the beginning.
    """

    parts: Parts
    folder: Path
    card: RunCard
    checkpoint: Path | None


Life = Generator[OpenRun, None, float | None]


def complete(life: Life, train_network: Callable[[OpenRun], None]) -> float | None:
    """Lead a run to its end, its network trained by `train_network`, unless there is nothing to train."""
    try:
        run = next(life)
    except StopIteration as end:
        return end.value
    try:
        train_network(run)
    except BaseException as error:
        life.throw(error)
        raise
    return conclude(life)


def conclude(life: Life) -> float | None:
    """Test a run whose network has been trained, and record it; its value for sweepers."""
    try:
        next(life)
    except StopIteration as end:
        return end.value
    raise RuntimeError("a run is trained once")


def lead(config: Config, folder: Path, trial: Trial | None, data: Data | None = None, stop: Stop | None = None) -> Life:
    """The life of a run: build, take the folder, yield for the training, test and record; or say what is there already.

    Args:
        data: of the config, read before; None: they are read.
        stop: that runs which are trained together have in common.
    """
    data = data or build_data(config)
    if trial and trial.needs_validation and data.spec.validation_is_trained_on:
        raise UserError("a search needs a validation split that is not trained on", fix="set data.heldout above 0")
    parts = build_parts(config, data, folder, trial, stop)
    goes_on = (folder / CARD).exists() and not (config["redo"] or config["find_lr"])
    start = None if goes_on else _start(parts)  # refused before there is a folder
    if config["find_lr"]:
        from speechml.engine.lr_finder import report_rates

        report_rates(parts, folder.parents[1] / ".lr_finder" / config["name"] / folder.name)
        return None
    make_folder(folder)
    with translate_disk_errors(folder), lock(folder), remove_if_empty(folder):
        check_own_files(folder)
        before = load_card(folder)
        if before:
            from speechml.engine import earlier_run

            if config["redo"]:
                echo(f"the run that was here is kept in {earlier_run.archive(folder)}")
                before = None
            else:
                earlier_run.check_same_data(folder, before, data.card())
                if before.state == "done" and not earlier_run.lacks_scoring(folder, before, parts):
                    earlier_run.make_up(folder, before, labels_of(config, before), config["logger"])
                    return earlier_run.report_done(config, folder, before)
        elif not (config["redo"] or trial or in_sweep()) and len(list(folder.parent.iterdir())) > 1:
            from speechml.engine.extend import go_on_from_shorter

            before = go_on_from_shorter(parts, folder)
        checkpoint = None
        if before:
            from speechml.engine.earlier_run import checkpoint_to_resume

            checkpoint = checkpoint_to_resume(folder, before)
        start = None if checkpoint else start or _start(parts)
        card = _begin(parts, folder, before, start)
        with tracking(parts, card):
            lines = list(start.lines) if start else []
            if str(config["trainer"]["precision"]).startswith("bf16"):
                from speechml.engine.precision import precision_notes

                lines += precision_notes(parts.trainer)
            with _recording(folder, card, parts, lines), _other_ranks(config, folder, checkpoint):
                with explain_failing_callbacks(parts.callbacks):
                    begin_fit(parts, folder, card)
                    yield OpenRun(parts, folder, card, checkpoint)
                    score(parts, folder, card)
                text, card.page = _keep(folder, card, before), bool(config["report"])
            old = before.scores if before and before.state == "done" else {}
            if any(card.scores.get(name) != old[name] for name in old):
                echo(f"note: scored again, {folder} has other scores than before")
            return _report(parts, folder, card, text)


def _keep(folder: Path, card: RunCard, before: RunCard | None) -> str:
    """Write the scores of a run, and make what it leaves durable before its card says so; the text of the scores."""
    if before and before.test_sets:
        from speechml.engine.test_sets import keep_sets

        keep_sets(card, before)
    text = summary_text(folder, card)
    write_text(folder / "scores.txt", text + "\n")
    for path in (*kept_files(folder), *log_files(folder)):
        make_durable(path)
    card.files, card.failures = checksums(folder), 0
    return text


def _audit(data: Data) -> Record:
    """The audit of the splits; of runs with the same recordings it is the same."""
    known = getattr(data, "derived", {})
    if "audit" not in known:
        known["audit"] = audit_data(data).to_json()
    return cast("Record", known["audit"])


def _start(parts: Parts) -> Start | None:
    """Begin with the weights that `init.from` names, where it does."""
    if not parts.config["init"]["from"]:
        return None
    from speechml.engine.warm_start import begin

    return begin(parts)


def _begin(parts: Parts, folder: Path, before: RunCard | None, start: Start | None) -> RunCard:
    """Write config.yaml and the card of a run that begins, perhaps with weights of another, or goes on; the card."""
    from hydra.core.hydra_config import HydraConfig

    config = parts.config
    overrides = simplify_overrides(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    session = describe_session(["speechml-train", *overrides] if in_sweep() else None)  # the run's, not its sweep's
    sets = (before.test_sets or {}) if before else {}  # which were scored with the weights that it has
    card = RunCard(
        id=folder.name, experiment=config["name"], state="running", **session,
        overrides=overrides, seed=config["seed"], test_weights=config["checkpoint"]["test_weights"],
        data=parts.data.card(), audit=_audit(parts.data), published=PublishedCard.from_config(config["published"]),
        failures=before.failures if before else 0, extended=before.extended if before else None,
        **labels_of(config, before), test_sets=sets or None,
        scores={name: value for name, value in before.scores.items() if name.partition("/")[0] in sets} if before else {},
    )  # fmt: skip
    if config["init"]["from"]:
        from speechml.engine.warm_start import record_start

        record_start(card, start, before)
    shown = without_secrets(config)
    if shown != config and count_processes(config["trainer"]) > 1:
        why = "it is kept out of config.yaml, from which the other processes are started"
        raise UserError("the config holds a password or token", why, "let your class read it from the environment")
    write_text(folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(shown)))
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
def _recording(folder: Path, card: RunCard, parts: Parts, lines: Sequence[str]) -> Iterator[None]:
    """Keep train.log, and the card true whatever happens inside; `lines` say what the run begins with."""
    handler, own = LogFile(folder / "train.log"), log.getChild(f"{card.experiment}.{card.id}")
    handler.setFormatter(LogFormat("%(asctime)s %(levelname)s %(message)s"))
    handler.addFilter(lambda record: record.name in (log.name, own.name))  # not what runs beside it say of themselves
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        with parts.stop.listening():
            own.info("%s %s: %s", card.experiment, card.id, card.command)
            if not in_sweep():
                echo(f"training {folder}  {' '.join(card.overrides)}".rstrip(), file=sys.stderr)
                echo("\n".join([parts.task.describe(), *lines]), file=sys.stderr, flush=True)
            for line in lines:
                own.info("%s", line)
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
        own.exception("the run failed")
        raise
    finally:
        card.ended = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        own.info("%s", card.state)
        with suppress(OSError) if card.state != "done" else nullcontext():  # no room: the error under way counts more
            save_card(folder, card)
        log.removeHandler(handler)
        handler.close()


def _report(parts: Parts, folder: Path, card: RunCard, text: str) -> float | None:
    """Print the scores, write the page, and give the value for sweepers."""
    config = parts.config
    for warning in (card.warnings or []) if in_sweep() else ():
        echo(f"{folder}: {warning}", file=sys.stderr)
    if not in_sweep():
        echo(text)
    if config["report"]:
        from speechml.report.pages import write_run_report

        page = write_run_report(folder)
        if page and not in_sweep():
            echo(page)
    if config["trainer"].get("profiler") and not in_sweep():
        from speechml.engine.profiling import write_profile

        echo(write_profile(parts.trainer.profiler, folder))  # type: ignore[attr-defined] # of a trainer
    if parts.stop.asked_by and in_sweep():  # too late to stop this run, but not those that would follow
        raise Stopped(parts.stop.asked_by, None)
    return card.objective_value(config["objective"], config["checkpoint"]["monitor"])
