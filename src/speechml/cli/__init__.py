"""What people type: `speechml` and its commands, and what the Hydra apps share."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from speechml.errors import UserError, echo, explain_missing_extras, machine_failure
from speechml.process import adapt_to_environment

REFUSED = 2  # exit code, where speechml refuses what it is given


def app() -> None:
    """Entry point of `speechml`."""
    adapt_to_environment()
    if sys.argv[1:2] == ["_complete"]:  # a shell asks, at each press of a key
        from speechml.cli.completion import answer

        answer(sys.argv[-1])
        return
    from speechml.cli.main import commands  # Typer, which the Hydra apps do without

    with explain_refusals():
        commands()


@contextmanager
def explain_refusals() -> Iterator[None]:
    """Inside, errors that are the user's to mend end the process with one sentence and without a traceback."""
    try:
        with explain_missing_extras():
            yield
    except Exception as error:
        refusal = error if isinstance(error, UserError) else machine_failure(error)
        if refusal is None:
            raise
        echo(f"error: {refusal}", file=sys.stderr)
        sys.exit(REFUSED)
