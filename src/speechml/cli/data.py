"""`speechml data`: pack data sets ahead of their runs. Heavy imports stay inside the commands."""

from __future__ import annotations

from typing import Annotated

import typer

OfData = Annotated[
    list[str] | None,
    typer.Argument(
        help="As for speechml-train: data=wav_pairs data.root=FOLDER, or experiment=words_tuned ...; "
        "without any, the data of its default experiment.",
        metavar="OVERRIDE",
    ),
]
data = typer.Typer(no_args_is_help=True, help="Pack data sets ahead of their runs.")


@data.callback()
def group() -> None:
    """Without this, the one command would be `speechml data` itself."""


@data.command()
def prepare(overrides: OfData = None) -> None:
    """Read, resample and pack the data that a run with these overrides would need; nothing is trained.

    Runs then begin at once, and those on one machine share one copy in memory.
    """
    from speechml.cli.prepare import prepare
    from speechml.config.compose import compose_app

    print(prepare(compose_app("train", overrides or [])))
