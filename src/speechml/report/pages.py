"""report.html: one file that opens offline, of a run or of a sweep."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from speechml import __version__
from speechml.errors import UserError
from speechml.report import media
from speechml.runs.catalogue import is_run
from speechml.storage.files import write_text

PAGES = Path(__file__).with_name("templates")


def write_report(folder: Path, output: Path | None = None) -> Path:
    """Write the page of a run, or of a sweep, and give its place.

    Args:
        folder: of a run, of a sweep (runs/.sweeps/EXPERIMENT/ID), or with runs at any depth.
        output: file to write; null: `report.html` in the folder of the run or sweep, or, of a folder of runs, where
            `runs/.sweeps/` keeps what is no run.

    Raises:
        UserError: neither run nor sweep, a run that is not done, or a place that cannot be written.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; give one of a run, of a sweep, or of runs")
    page = output or place_of(folder)
    if page.is_dir():
        raise UserError(f"{page} is a folder; give a file, as in --output report.html")
    text = run_page(folder) if is_run(folder) else sweep_page(folder, page)
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        write_text(page, text)
    except OSError as error:
        raise UserError(f"{page} cannot be written ({error.strerror})") from error
    return page


def write_run_report(folder: Path) -> str:
    """Write the page of a run that has just ended, and say where it is; the run is done without it, too."""
    try:
        return f"Report: {write_report(folder)}"
    except Exception as error:  # whatever a page cannot show, the run has its scores
        why = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        return f"Report: not written ({' '.join(why.split())}); speechml report {folder} tries it again"


def place_of(folder: Path) -> Path:
    """Where the page of a folder is written: `runs/<experiment>/` itself holds runs and nothing else."""
    if is_run(folder) or (folder / "sweep.json").is_file():
        return folder / "report.html"
    holds_runs = any(is_run(place) for place in folder.iterdir() if place.is_dir())
    if not holds_runs:
        return folder / ".sweeps" / "report.html"
    path = folder.absolute()
    place = path.parent / ".sweeps" / path.name / "report.html"
    return Path(os.path.relpath(place)) if place.is_relative_to(Path.cwd()) else place


def run_page(folder: Path) -> str:
    """The page of a finished run."""
    from speechml.report.run_page import run_context

    context = run_context(folder)
    found = context["confusions"]
    drawn = {"alluvial": found["alluvial"], "confusions_json": media.as_json(_behind(found))} if found else {}
    return filled("run.html", {**context, **drawn, "wide": media.WIDE, "high": media.HIGH})


def _behind(found: dict[str, Any]) -> dict[str, Any]:
    return {key: found[key] for key in ("classes", "counts", "cells", "sounds", "called")}


def sweep_page(folder: Path, page: Path) -> str:
    """The page of a sweep, or of a folder of runs."""
    from speechml.report.sweep_page import sweep_context

    return filled("sweep.html", sweep_context(folder, page))


def filled(name: str, context: dict[str, Any]) -> str:
    """A template with everything in its place: names and texts escaped, our own drawings and scripts as they are."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    pages = Environment(
        loader=FileSystemLoader(PAGES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    own = {key: Markup(context[key]) for key in ("alluvial", "confusions_json", "plotted") if key in context}
    curves = [(title, Markup(drawing)) for title, drawing in context.get("curves", [])]
    parts = {"css": (PAGES / "page.css").read_text(), "js": (PAGES / "page.js").read_text()}
    return pages.get_template(name).render(
        {
            **context,
            **own,
            "curves": curves,
            **{key: Markup(text) for key, text in parts.items()},
            "version": __version__,
        }
    )
