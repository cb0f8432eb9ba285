"""`speechml`: everything that is not training. Heavy imports stay inside the commands, so that --help is quick."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from speechml import __version__
from speechml.cli import app
from speechml.cli.runs import runs
from speechml.cli.sweep import sweep
from speechml.errors import echo

commands = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False,
    help="Everything beside training (speechml-train) and scoring (speechml-evaluate): use models, look at runs, compare them.",
)  # fmt: skip
data = typer.Typer(no_args_is_help=True, help="Pack data sets ahead of their runs.")
commands.add_typer(data, name="data")
commands.add_typer(runs, name="runs")
commands.add_typer(sweep, name="sweep")
Model = Annotated[Path, typer.Argument(help="Folder of a run or an exported model, or a checkpoint file.")]
Recordings = Annotated[
    list[Path], typer.Argument(help="Audio files, or folders of them (wav, flac, ogg, opus, mp3, aiff, au and more).")
]
OfData = Annotated[
    list[str] | None,
    typer.Argument(
        help="As for speechml-train: data=wav_pairs data.root=FOLDER, or experiment=words_tuned ...; "
        "without any, the data of its default experiment.",
        metavar="OVERRIDE",
    ),
]


def show_version(wanted: bool) -> None:
    """Print the version and stop, where that is wanted."""
    if wanted:
        echo(__version__)
        raise typer.Exit


@commands.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", is_eager=True, callback=show_version)
    ] = False,
) -> None:
    """The options of `speechml` itself."""


@commands.command()
def denoise(
    run: Model,
    recordings: Recordings,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the denoised recordings.")],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that are there already; without it they are kept.")
    ] = False,
) -> None:
    """Denoise recordings with a trained model; length, rate, channels and names stay as they are."""
    from speechml.inference.denoise import denoise_files

    denoise_files(run, recordings, output, overwrite)


@commands.command()
def classify(
    run: Model,
    recordings: Recordings,
    form: Annotated[str, typer.Option("--format", help="table, csv or json.")] = "table",
) -> None:
    """Name the words of recordings (windows of 1 s every 0.25 s where one is longer), or the genre of music."""
    from speechml.inference.classify import classify_files

    classify_files(run, recordings, form)


@data.callback()
def group() -> None:
    """Without this, the one command would be `speechml data` itself."""


@data.command()
def prepare(overrides: OfData = None) -> None:
    """Read, resample and pack the data that a run with these overrides would need; nothing is trained.

    Runs then begin at once, and those on one machine share one copy in memory.
    """
    from speechml.cli.prepare import prepare
    from speechml.config.compose_app import compose_app

    echo(prepare(compose_app("train", overrides or [])))


@commands.command()
def audit(
    overrides: OfData = None,
    items: Annotated[
        bool, typer.Option("--items", help="Print split, speaker and name of every item instead.")
    ] = False,
) -> None:
    """Check that the test set is new: no speaker, song, noise or audio is shared with other sets, no statistics are of it.

    The exit code is 1 where something is flagged. Every run does so by itself.
    """
    from speechml.cli.prepare import open_data
    from speechml.config.compose_app import compose_app
    from speechml.report.evaluation import audit_report, list_items

    opened = open_data(compose_app("train", overrides or []))
    if items:
        echo(list_items(opened))
        return
    text, is_flagged = audit_report(opened)
    echo(text)
    if is_flagged:
        raise typer.Exit(1)


@commands.command()
def export(
    run: Annotated[Path, typer.Argument(help="Folder of a run, or a checkpoint file.", metavar="RUN_OR_CHECKPOINT")],
    folder: Annotated[Path, typer.Argument(help="Folder for weights.safetensors and model.json.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a model that is there already.")] = False,
) -> None:
    """Write a trained model as safetensors and JSON, for other programs; denoise and classify take it, too."""
    from speechml.inference.export import export

    export(run, folder, overwrite)
    echo(f"{folder}: weights.safetensors, model.json")


@commands.command()
def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Finished runs, or sweeps; each test set is compared apart.", metavar="RUN..."),
    ],
    form: Annotated[str, typer.Option("--format", help="table, markdown, csv or json.")] = "table",
    force: Annotated[
        bool, typer.Option("--force", help="Compare scores of different test sets, as unpaired items.")
    ] = False,
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline",
            metavar="ID",
            help="The run that the others are compared with: its id, the beginning of that, or its folder. Without it the "
            "default of the experiment, if it is among them, else the best by validation.",
        ),
    ] = None,
) -> None:
    """Show which run is better, by how much, and whether it may be chance; runs that differ by seed only are one setting."""
    from speechml.report.comparison_groups import compare_groups, format_groups

    echo(format_groups(compare_groups(runs, force, baseline), form), end="", exact=form == "csv")


@commands.command()
def report(
    folder: Annotated[Path, typer.Argument(help="Folder of a run, of a sweep, or with runs.", metavar="RUN_OR_SWEEP")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write.")] = None,
) -> None:
    """Write a page that opens offline: scores, curves, sounds and confusions of a run; tables and plots of a sweep."""
    from speechml.report.pages import write_report

    echo(write_report(folder, output))


@commands.command()
def publish(
    runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs.", metavar="RUN...")],
    to: Annotated[list[str], typer.Option("--to", help="wandb or mlflow; can be given twice.")],
) -> None:
    """Send finished runs to Weights & Biases or MLflow: curves, scores, settings, tags, report; never twice.

    The exit code is 2 where one could not be sent.
    """
    from speechml.report.sending import publish

    if not publish(runs, to):
        raise typer.Exit(2)


@commands.command()
def reproduce(
    words: Annotated[
        list[str] | None,
        typer.Argument(help="Experiments (none: those of the labs) and overrides.", metavar="[EXPERIMENT|OVERRIDE]..."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder with the labs' own data sets; else stand-ins.")
    ] = None,
    launcher: Annotated[str, typer.Option("--launcher", help="basic, local or slurm.")] = "basic",
    read: Annotated[bool, typer.Option("--read", help="Run nothing: read the runs that are done.")] = False,
) -> None:
    """Run the labs' experiments where they are not done, and show their figures beside the published ones."""
    from speechml.cli.reproduce import reproduce

    text, are_all_done = reproduce(words or [], data, launcher, read)
    echo(text)
    if not are_all_done:
        raise typer.Exit(1)


@commands.command()
def explain(
    key: Annotated[str, typer.Argument(help="As in --help of speechml-train: optimizer.lr, model, hydra/launcher ...")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="As for speechml-train (with run=... for speechml-evaluate).", metavar="OVERRIDE"),
    ] = None,
) -> None:
    """Explain a key of the config: type, unit, default, allowed values, and where its value came from."""
    from speechml.config.explain import explain

    echo(explain(key, overrides or []))


@commands.command()
def schema(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for a JSON schema of each group.")],
) -> None:
    """Write JSON schemas, by which editors complete, explain and check config files (with `-o schemas`: those of conf/)."""
    from speechml.config.json_schema import write_schemas

    echo(f"wrote {len(write_schemas(output))} schemas to {output}")


@commands.command()
def new(
    name: Annotated[str, typer.Argument(help="Of the folder, the experiment, the model and the module.")],
) -> None:
    """Lay out a folder for a network of your own: the network, its configs and a test, which run as they are."""
    from speechml.cli.new import lay_out

    echo(lay_out(name))


@commands.command()
def completion(
    shell: Annotated[str, typer.Argument(help="bash or zsh.", metavar="SHELL")],
) -> None:
    """Print what makes the Tab key complete commands, choices and keys: eval "$(speechml completion bash)"."""
    from speechml.cli.completion import completion_script

    echo(completion_script(shell), end="")


@commands.command()
def tensorboard(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Folders of runs, of a sweep (runs/.sweeps/EXPERIMENT/ID), or single runs; without any, $SPEECHML_RUNS or "
            "runs.",
            metavar="[FOLDER]...",
        ),
    ] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Default: the first free one from 6006.")] = None,
) -> None:
    """Show runs in TensorBoard, on this machine only, by names that say how they differ; Ctrl-C ends it."""
    from speechml.report.tensorboard import serve

    serve(folders or [Path(os.environ.get("SPEECHML_RUNS", "runs"))], port)


if __name__ == "__main__":
    app()
