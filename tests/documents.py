"""What README.md and docs/ hold: commands, files, headings and links."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").rglob("*.md"))
DOCUMENTS = [README, *PAGES]
ABOUT = {str(path.relative_to(ROOT)): path for path in DOCUMENTS}  # by the names that tests show
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def commands(text: str) -> list[str]:
    """The lines of the shell blocks of a page, without comments; those that go on in a next line are one."""
    blocks = [block for language, block in BLOCK.findall(text) if language in ("bash", "sh")]
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line]


def command_starting(page: str, beginning: str) -> str:
    """The one command of a page that begins so."""
    (line,) = [line for line in commands(ABOUT[page].read_text()) if line.startswith(beginning)]
    return line


def files_of(text: str) -> dict[str, str]:
    """The files that a page shows: what stands below the name of one in a folder `my-lab`."""
    return dict(re.findall(r"`(my-lab/[\w./]+)`:\n\n```\w+\n(.*?)```", text, re.DOTALL))


def write_files(text: str, folder: Path) -> None:
    """Write the files that a page shows."""
    for name, content in files_of(text).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


def without_code(text: str) -> str:
    """A page without blocks and pieces of code, which hold no links."""
    return re.sub(r"`[^`\n]*`", "", BLOCK.sub("", text))


def anchors(text: str) -> set[str]:
    """What `#...` of a link to a page may be: its headings, as GitHub and mkdocs both write them."""
    headings = re.findall(r"^#{1,6} (.*)$", BLOCK.sub("", text), re.MULTILINE)
    plain = [re.sub(r"[`*]", "", heading).strip().lower() for heading in headings]
    github = [re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain]
    mkdocs = [re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip()) for heading in plain]
    return set(github) & set(mkdocs)
