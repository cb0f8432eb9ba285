"""One experiment from its composed config to its scores: find the run's folder, train, test, write down."""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from omegaconf import DictConfig, OmegaConf

from speechml.config.compose import check_keys, make_paths_absolute, resolve_config
from speechml.config.instantiate import build
from speechml.contracts import Trial
from speechml.engine.checkpoint import newest, read_checkpoint, refuse_other_weights, task_of
from speechml.engine.checks import refuse_other_data, refuse_unusable, refuse_wrong_kinds, with_classes
from speechml.engine.cluster import led, refuse_other_numbers, started
from speechml.engine.distributed import ended_ranks, join, leave_group, processes
from speechml.engine.process import prepare, set_seed
from speechml.engine.resume import EVENTS, cut_logs, machine
from speechml.engine.scoring import scored
from speechml.engine.signals import Stop, Stopped
from speechml.engine.trainer import headlines, trainer_for
from speechml.errors import Pruned, UnknownScore, UnusableData, UserError
from speechml.report.audit import audit_data
from speechml.report.pages import write_run_report
from speechml.report.summary import summary_text
from speechml.runs.catalogue import checksums
from speechml.runs.folder import (
    LAST,
    PREVIOUS,
    LogFile,
    claimed,
    code_version,
    provenance,
    read_card,
    room_in,
    set_aside,
    tidy,
    write_card,
)
from speechml.runs.identity import run_id
from speechml.runs.settings import settings_of
from speechml.storage.files import make_folder, write_text
from speechml.tasks.optimizer import build_optimization

log = logging.getLogger("speechml")


def launch(cfg: DictConfig, trial: Trial | None = None) -> float | None:
    """Train and test what a config describes, unless that is done; resume it where it stopped.

    Args:
        cfg: as Hydra composes it.
        trial: of a search that the run belongs to.

    Returns:
        The validation figure that `objective` names, else `checkpoint.monitor`, for sweepers.

    Raises:
        UserError: an unknown key, unusable data, a run that another process is training.
        Pruned: the search that the run belongs to can do without it.
    """
    config = resolve_config(cfg)
    check_keys(config)
    refuse_wrong_kinds(config)
    identity = run_id(cfg)
    config = make_paths_absolute(config)
    folder = Path(config["paths"]["runs"]) / config["name"] / identity
    prepare(config)
    place = started()
    refuse_other_numbers(place, processes(config["trainer"]), int(config["trainer"]["num_nodes"] or 1))
    if place and place.rank > 0:
        join(place, identity)
        return None
    with led(place, identity):
        return _launch(config, folder, identity, trial)


def _launch(config: dict[str, Any], folder: Path, identity: str, trial: Trial | None) -> float | None:
    """`launch` on the first rank."""
    try:
        data = build(config["data"], where="data")
        data_card = data.card()  # reads the recordings: what is wrong with them is said before a folder exists
    except UserError as error:
        raise UnusableData(str(error)) from error
    config = with_classes(config, data)
    set_seed(config["seed"])
    refuse_unusable(config, data, data_card)
    if trial and trial.needs_validation and data.validation_is_known:
        raise UserError("a search needs a validation part that is not trained on; set data.heldout above 0")
    build_optimization([torch.nn.Parameter(torch.zeros(1))], config["optimizer"], config["scheduler"], steps=10)
    if config["find_lr"]:
        from speechml.engine.lr_finder import tell

        tell(config, data, folder.parents[1] / ".lr_finder" / config["name"] / identity)
        return None
    make_folder(folder)
    with room_in(folder), claimed(folder), tidy(folder):
        card = read_card(folder)
        if card and not config["redo"]:
            refuse_other_data(folder, card, data_card)
            if card["state"] == "done":
                return _already_done(config, folder, card)
        resume = None
        if card and config["redo"]:
            print(f"the run that was here is kept in {set_aside(folder)}")
        elif card:
            resume = _resumable(folder, card)
        card = {
            "id": identity, "experiment": config["name"], "state": "running", **provenance(),
            "overrides": overrides(), "seed": config["seed"], "test_weights": config["checkpoint"]["test_weights"],
            "data": data_card, "audit": audit_data(data), "published": config["published"], "scores": {},
            "failures": 0 if config["redo"] else (card or {}).get("failures", 0),
        }  # fmt: skip
        write_text(folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(config)))
        write_card(folder, card)
        return _train(config, folder, data, card, resume, trial)


def overrides() -> list[str]:
    """What the command line, or the sweep, set."""
    from hydra.core.hydra_config import HydraConfig

    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def in_sweep() -> bool:
    """Whether the run is one of several that a command launches."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def _value(config: dict[str, Any], card: dict[str, Any]) -> float | None:
    """What a sweeper goes by: the score that `objective` names, else that of the best checkpoint."""
    goal = config["objective"]
    same = not goal or goal == config["checkpoint"]["monitor"]
    value = card.get("monitored") if same else card["scores"].get(goal)
    if value is None and goal:
        there = sorted(name for name in card["scores"] if name.startswith("val/"))
        raise UnknownScore(f"objective={goal} is no score of this run; it has {', '.join(there)}")
    return None if value is None else float(value)


def _already_done(config: dict[str, Any], folder: Path, card: dict[str, Any]) -> float | None:
    if in_sweep():
        return _value(config, card)
    print("This run is done already; redo=true trains it again. Its scores:")
    now, then = code_version(), card.get("code", {})
    if (now.get("commit"), now.get("dirty")) != (then.get("commit"), then.get("dirty")):
        versions = [f"{code.get('commit')}{' with changes' * bool(code.get('dirty'))}" for code in (then, now)]
        print(f"It was made by another version of the code (commit {versions[0]}, now {versions[1]}).")
    mine, before = now.get("own", {}), then.get("own", {})
    if changed := ", ".join(name for name in mine.keys() & before if mine[name] != before[name]):
        print(f"Your own code has changed since ({changed}); redo=true trains with it as it is now.")
    print(summary_text(folder, card))
    return _value(config, card)


def _resumable(folder: Path, card: dict[str, Any]) -> Path | None:
    """The checkpoint a stopped run continues from, or None where it has to begin again."""
    found, quiet = newest(folder), in_sweep()
    how = {"running": "was cut off", "failed": "had failed", "stopped": "was stopped"}[card["state"]]
    if found is None:
        if any((folder / "checkpoints" / name).exists() for name in (LAST, PREVIOUS)):
            kept = set_aside(folder)
            print(f"{folder} {how}, and has no checkpoint to go on from: it begins again; what was there is in {kept}")
        elif not quiet:
            print(f"{folder} {how} before its first checkpoint: it begins again")
        cut_logs(folder, {})
        return None
    path, content = found
    cut_logs(folder, content["resume"]["logs"])
    if not quiet:
        print(f"resuming {folder}, which {how}, after step {content['global_step']} ({path.name})")
    then, now = content["resume"]["machine"], machine()
    if strange := [f"{key} {then[key]}, now {now[key]}" for key in now if then[key] != now[key]]:
        print(f"note: it was saved with {'; '.join(strange)}: the last digits may differ from an undisturbed run's")
    return path


def _train(
    config: dict[str, Any], folder: Path, data: Any, card: dict[str, Any], resume: Path | None, trial: Trial | None
) -> float | None:
    """Run it and keep the card true whatever happens."""
    handler = LogFile(folder / "train.log")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.info("%s %s: %s", card["experiment"], card["id"], card["command"])
    quiet = in_sweep()  # which tells of its runs, a line each
    if not quiet:
        print(f"training {folder}  {' '.join(card['overrides'])}".rstrip(), file=sys.stderr, flush=True)
    state, before, stop = "failed", dict(os.environ), Stop()
    try:
        with stop.listening():
            card |= execute(config, folder, data, resume, stop, trial)
        text = summary_text(folder, card)
        write_text(folder / "scores.txt", text + "\n")
        state, card["files"], card["failures"] = "done", checksums(folder), 0
    except BaseException as error:
        state, raised = _ended_by(error, folder, card, config["redo"])
        if raised is error:
            raise
        raise raised from error
    finally:
        card |= {"state": state, "ended": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        _close(folder, card, before)
        log.removeHandler(handler)
        handler.close()
    if not quiet:
        print(text)
    told = write_run_report(folder) if config["report"] else ""
    if told and not quiet:
        print(told)
    if stop.asked_by and in_sweep():  # too late to stop this run, but not those that would follow
        raise Stopped(stop.asked_by, None)
    return _value(config, card)


def _ended_by(error: BaseException, folder: Path, card: dict[str, Any], redo: bool) -> tuple[str, BaseException]:
    """The state of a run that did not come to its end, which the card tells more of, and what is raised of it."""
    if isinstance(error, Pruned):
        card["pruned"] = str(error)
        return "stopped", error
    if isinstance(error, (KeyboardInterrupt, SystemExit)):
        card["stopped"] = getattr(error, "told", "stopped within a step, after which nothing was saved")
        if not in_sweep():
            how = "the same command without redo=true" if redo else "the same command"
            print(f"\n{card['stopped']}; {how} resumes {folder}", file=sys.stderr)
        # Lightning makes exit code 1 of an interrupt.
        return "stopped", error if isinstance(error, Stopped) else Stopped("SIGINT", None)
    card |= {"error": f"{type(error).__name__}: {error}", "failures": card["failures"] + 1}
    log.exception("the run failed")
    if told := ended_ranks(error):
        return "failed", UserError(f"{folder}: {told}; the same command goes on from the last checkpoint")
    return "failed", error


def _close(folder: Path, card: dict[str, Any], before: dict[str, str]) -> None:
    """End the other ranks and write the card, should there be room for it."""
    leave_group(before)
    log.info("%s", card["state"])
    try:
        write_card(folder, card)
    except OSError:  # the card tells of a run that was cut off; an error that is under way is told instead of this one
        if card["state"] == "done":
            raise


def execute(
    config: dict[str, Any], folder: Path, data: Any, resume: Path | None, stop: Stop, trial: Trial | None = None
) -> dict[str, Any]:
    """Fit and test in a claimed folder, on this rank, until it is done or `stop` asks; what the card keeps of it."""
    set_seed(config["seed"])
    task: Any = task_of(config, "the config")
    task.setup_for(data)
    if resume:
        content = read_checkpoint(resume)
        refuse_other_weights(task, content["state_dict"], resume)
    watched = config["objective"] or config["checkpoint"]["monitor"]
    pruners = trial.callbacks(watched, processes(config["trainer"])) if trial else []
    trainer, saving, best = trainer_for(config, folder, data, pruners, resume, stop)
    if trainer.is_global_zero and not in_sweep():
        print(task.describe(), file=sys.stderr, flush=True)
    if not list(folder.glob(EVENTS)):  # a run that goes on has told of its settings
        for logger in trainer.loggers:
            logger.begin(settings_of(config, overrides()))  # type: ignore[attr-defined] # speechml.engine.logger.Events
    try:
        trainer.fit(task, datamodule=data, ckpt_path=str(resume) if resume else None, weights_only=True)
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
        if not saving.saved:
            raise
        raise UserError(
            f"{resume} is not what this run can go on from ({error}); add redo=true to begin again"
        ) from error
    seconds = saving.training_s
    if trial:
        trial.check_pruned()
    value = trainer.callback_metrics.get(config["checkpoint"]["monitor"])
    if best is not None and best.best_model_score is not None:
        value = best.best_model_score
    found: dict[str, Any] = {
        "parameters": sum(p.numel() for p in task.parameters()),
        "training_s": round(seconds, 2),
        "epochs": trainer.current_epoch,
        "clips_per_s": clips_per_s(trainer, data, seconds),
        "monitored": None if value is None else float(value),
        **scored(trainer, task, data, config, folder, best),
    }
    known = found["scores"] | {config["checkpoint"]["monitor"]: found["monitored"]}
    found["headlines"] = [name for name in headlines(config, task, data) if known.get(name) is not None]
    for logger in trainer.loggers:
        logger.end({name: known[name] for name in found["headlines"]}, trainer.global_step)  # type: ignore[attr-defined]
    return found


def clips_per_s(trainer: pl.Trainer, data: Any, seconds: float) -> float:
    """Training items (clips, windows, runs) a second, validation included."""
    epochs = trainer.global_step / len(data.train_dataloader())
    return round(epochs * data.items / seconds, 1)
