"""`speechml new NAME`: a folder for a network of the user's own, which runs as it is."""

from __future__ import annotations

import keyword
from importlib.util import find_spec
from pathlib import Path

from speechml.config.compose import conf_dir
from speechml.errors import UserError
from speechml.storage.files import make_folder, write_text

FILES = {  # of the folder, by their templates
    "module.py.txt": "{name}.py", "model.yaml.txt": "model/{name}.yaml", "experiment.yaml.txt": "experiment/{name}.yaml",
    "test.py.txt": "test_{name}.py",
}  # fmt: skip


def lay_out(name: str) -> str:
    """Write the folder NAME, and give what it holds and the commands that run it.

    Raises:
        UserError: a name that no module can have or that something else has, or a folder that is there.
    """
    check_name(name)
    folder = Path(name)
    if folder.exists():
        raise UserError(f"{folder} is there already", fix="choose another name, or remove it")
    for template, place in FILES.items():
        text = (Path(__file__).parent / "templates" / template).read_text().format(name=name)
        path = folder / place.format(name=name)
        make_folder(path.parent)
        write_text(path, text)
    files = [f"  {folder / place.format(name=name)}" for place in FILES.values()]
    run = [f"SPEECHML_CONF={name} speechml-train experiment={name} trainer.max_epochs=1", f"pytest {name}"]
    return "\n".join([f"{folder}/ holds a network, its configs and a test:", *files, "Train and test it:", *run])


def check_name(name: str) -> None:
    """Raises UserError where a module, a model and an experiment cannot all have a name."""
    if not name.isidentifier() or keyword.iskeyword(name) or not name.isascii():
        what = f"{name!r} is no name for a Python module"
        raise UserError(what, fix="use letters, digits and _, as in my_network")
    for group in ("experiment", "model"):
        if (Path(conf_dir()) / group / f"{name}.yaml").exists():
            raise UserError(f"there is {group}={name} already", fix="choose another name")
    if (spec := find_spec(name)) and spec.origin:
        raise UserError(f"{name} is a module of Python or of a package already", fix="choose another name")
