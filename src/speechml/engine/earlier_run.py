"""What a command does with a run that is there already: it is shown, completed, or gone on with."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from speechml.config.compose import in_sweep, without_secrets
from speechml.contracts import Config
from speechml.engine.restore import cut_logs, find_latest
from speechml.engine.resume import numerics
from speechml.errors import UserError, echo
from speechml.report.summary import summary_text
from speechml.runs.card import CARD, DataCard, Record, RunCard, explain_damage, load_card, save_card
from speechml.runs.folder import LOCK, PAGE, code_version, missing_files
from speechml.storage.files import write_bytes, write_text

if TYPE_CHECKING:
    from speechml.engine.parts import Parts


def check_same_data(folder: Path, card: RunCard, data_card: DataCard) -> None:
    """Raises UserError where the recordings of a run, which is to go on or is done, have changed since."""
    before = card.data
    if before.fingerprint == data_card.fingerprint:
        return
    from speechml.data.name_patterns import NONE, READ

    read = next((note for note in data_card.notes if note.startswith(READ)), "")
    is_as_many = sum(before.recordings.values()) == sum(data_card.recordings.values())
    if (
        read
        and is_as_many
        and before.protocol != data_card.protocol
        and not any(note.startswith(READ) for note in before.notes)
    ):
        raise UserError(
            f"{folder} was made before names told speakers: its split protocol was {before.protocol}, now it is "
            f"{data_card.protocol}",
            why=read.partition(";")[0],
            fix=f"data.speaker={NONE} splits them as before, in a run of its own; redo=true trains again (the old run is kept)",
        )
    raise UserError(
        f"{folder} was made from other recordings",
        why=f"{before.fingerprint}, now {data_card.fingerprint}",
        fix="bring the old ones back, or add redo=true to train again (the old run is kept)",
    )


def archive(folder: Path) -> Path:
    """Move what a folder holds into `runs/.old/`, so that a run can be trained again without losing the old one.

    The folder itself stays, with the lock that is held on it. Raises OSError, and UserError where its card is damaged.
    """
    old = folder.parents[1] / ".old" / folder.parent.name / f"{folder.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    while old.exists():
        old = old.with_name(old.name + "-")
    old.mkdir(parents=True)
    # Killed on the way, what is left is a failed run without a checkpoint, which begins anew.
    write_bytes(old / CARD, (folder / CARD).read_bytes())
    if card := load_card(folder):
        save_card(folder, replace(card, state="failed"))
    for item in sorted(folder.iterdir(), key=lambda item: item.name != "checkpoints"):
        if item.name not in (LOCK, CARD):
            shutil.move(item, old / item.name)
    (folder / CARD).unlink()
    return old


def lacks_scoring(folder: Path, card: RunCard, parts: Parts) -> bool:
    """Whether a run that is done lacks what only scoring it again gives, and still has what that takes."""
    missing = [name for name in missing_files(folder, card) if name not in ("scores.txt", PAGE)]
    if missing:
        echo(f"{folder} lacks {', '.join(missing)}")
    if parts.sets:
        from speechml.engine.test_sets import unscored_sets

        with explain_damage(folder):
            new = unscored_sets(parts, card)
        if new:
            echo(f"{folder} has not been scored on {', '.join(new)}")
            missing += new
    if not missing:
        return False
    return not any(name.startswith("checkpoints/") for name in missing) and find_latest(folder) is not None


def checkpoint_to_resume(folder: Path, card: RunCard) -> Path | None:
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


def make_up(folder: Path, card: RunCard, labels: Record, loggers: Config) -> None:
    """Put the tags and the note of a command into a run's card, and send it to the trackers that lack it.

    Args:
        labels: values of the card, by their names.
        loggers: of the config.
    """
    labels = without_secrets(labels)  # as a card holds them
    if changed := any(getattr(card, name) != value for name, value in labels.items()):
        vars(card).update(labels)
        save_card(folder, card)
        (folder / PAGE).unlink(missing_ok=True)  # to be written again
        echo(f"{folder} has new labels: tags {', '.join(card.tags or []) or '-'}; note {card.note or '-'}")
    if loggers.get("wandb") or loggers.get("mlflow"):
        from speechml.report.sending import send_missing, trackers_of

        send_missing(folder, trackers_of(loggers), again=changed)


def report_done(config: Config, folder: Path, card: RunCard) -> float | None:
    """Show a run that was done before; what has yet to be written of it is written."""
    scores = folder / "scores.txt"
    if not scores.exists():
        write_text(scores, summary_text(folder, card) + "\n")
    page = ""
    if (config["report"] or card.page) and not (folder / PAGE).exists():
        from speechml.report.pages import write_run_report

        page = write_run_report(folder)
    if in_sweep():
        return card.objective_value(config["objective"], config["checkpoint"]["monitor"])
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
    return card.objective_value(config["objective"], config["checkpoint"]["monitor"])
