"""report.html: one file that opens offline, of a run or of a sweep."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from speechml import __version__
from speechml.errors import UserError
from speechml.runs.catalogue import is_run
from speechml.runs.sweep_record import is_sweep
from speechml.storage.building import remove_leftovers
from speechml.storage.files import write_text

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).with_name("templates")


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
    page = output or page_path(folder)
    if page.is_dir():
        raise UserError(f"{page} is a folder; give a file, as in --output report.html")
    text = render(folder, page)
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(page.parent, name=f"{page.name}.*")
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


def page_path(folder: Path) -> Path:
    """Where the page of a folder is written: `runs/<experiment>/` itself holds runs and nothing else."""
    if is_run(folder) or is_sweep(folder):
        return folder / "report.html"
    if not any(is_run(place) for place in folder.iterdir() if place.is_dir()):
        return folder / ".sweeps" / "report.html"
    path = folder.absolute()
    place = path.parent / ".sweeps" / path.name / "report.html"
    return Path(os.path.relpath(place)) if place.is_relative_to(Path.cwd()) else place


def render(folder: Path, page: Path) -> str:
    """The text of a page: whatever runs say is escaped, our own style and script are not."""
    from markupsafe import Markup

    from speechml.report.charts import style_of_colours
    from speechml.report.run_page import run_context
    from speechml.report.sweep_page import sweep_context

    own = {kind: Markup((TEMPLATES / f"page.{kind}").read_text()) for kind in ("css", "js")}
    own["css"] += Markup(style_of_colours())
    name, context = ("run", run_context(folder)) if is_run(folder) else ("sweep", sweep_context(folder, page))
    text = _templates().get_template(f"{name}.html").render({**context, **own, "version": __version__})
    return text.encode(errors="replace").decode()  # names may hold what is no letter


@cache
def _templates() -> Environment:
    """The templates, compiled once: that takes longer than to render one of them."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
