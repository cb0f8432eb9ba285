"""Private names of Hydra that speechml borrows; each has a test that says what to do when it is gone."""

from __future__ import annotations

from hydra.core.override_parser.types import Override


def override_text(value: object) -> str:
    """A value as it would stand on the command line, quoted where it must be. Without it: write the quoting here."""
    return Override._get_value_element_as_str(value)  # type: ignore[arg-type] # of any kind that its grammar knows
