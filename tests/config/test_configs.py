"""Every shipped config is run, and a key that nothing reads is refused."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
import yaml

from conftest import TINY, command, composed, make_features, make_pairs, succeed
from speechml.config.compose import conf_dir, resolve_config
from speechml.config.train_config import check_config
from speechml.errors import UserError
from stress_resume import differences

CONF = Path(conf_dir())
# But `own`, the beginning of a user's (tests/engine/test_plain.py).
EXPERIMENTS = sorted(p.stem for p in (CONF / "experiment").glob("*.yaml") if p.stem != "own")
KINDS = {"words": ("speech_commands", "speech_commands_random", "spoken_words"), "genre": ("genre_features",)}
OPTIONS = {
    group: sorted(p.stem for p in (CONF / group).glob("*.yaml"))
    for group in ("model", "optimizer", "scheduler", "callbacks", "checkpoint", "logger", "trainer")
}


def kind_of(experiment: str) -> str:
    """Which data an experiment takes: of words, of genres, or pairs."""
    return next((kind for kind in KINDS if experiment.startswith(kind)), "pairs")


def data_of(kind: str) -> list[str]:
    """The data configs of a kind."""
    every = sorted(p.stem for p in (CONF / "data").glob("*.yaml") if p.stem != "own")
    others = {name for names in KINDS.values() for name in names}
    return list(KINDS.get(kind, [name for name in every if name not in others]))


def few_of(experiment: str, workplace: Path) -> tuple[str, ...]:
    """Overrides that give an experiment a few items of its data."""
    if kind_of(experiment) == "words":
        return ("data=spoken_words", "data.voices=6", "data.batch_size=8")
    if kind_of(experiment) == "genre":
        return (f"data.root={make_features(workplace / 'x.npz')}",)
    spoken = "spoken_pairs" in (CONF / "experiment" / f"{experiment}.yaml").read_text()
    return TINY if spoken else ()


QUICK = ("genre_mlp", "lab2a_fir", "lab2b_mimo_cnn")


@pytest.mark.parametrize(
    "experiment", [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in EXPERIMENTS]
)
def test_every_experiment_trains_and_scores(experiment: str, train: Callable[..., Path], workplace: Path) -> None:
    words = (f"experiment={experiment}", "debug=limit", "trainer.max_epochs=1", *few_of(experiment, workplace))
    folder = train(*words)
    assert (folder / "predictions.npz").is_file()
    if experiment in QUICK:  # once more, differently watched, logged and placed: equal in every bit
        other = (
            "callbacks.progress=null",
            "logger.tensorboard=false",
            "paths.runs=again",
            "checkpoint.every_n_steps=1",
        )
        train(*words, *other)
        again = workplace / "again" / folder.parent.name / folder.name
        assert [d for d in differences(folder, again) if not d.startswith("events")] == []


@pytest.mark.parametrize(("group", "option"), [(g, o) for g, options in OPTIONS.items() for o in options])
def test_every_option_of_every_group_is_read_whole(group: str, option: str) -> None:
    of_words = group == "model" and option.startswith(("spectrogram", "m5"))
    of_genres = group == "model" and option == "mlp"
    own = ("experiment=words_tuned", "data.root=x") if of_words else ()
    own = ("experiment=genre_mlp", "data.root=x") if of_genres else own
    boring = "lightning.pytorch.demos.boring_classes.Boring"
    classes = (f"data._target_={boring}DataModule", f"model._target_={boring}Model")
    own = ("experiment=own", *classes) if option == "own" or (group, option) == ("optimizer", "none") else own
    check_config(resolve_config(composed("train", *own, f"{group}={option}")))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("search", "experiment"),
    [
        ("genre", "genre_mlp"),
        ("genre_tuned", "genre_mlp_tuned"),
        ("mimo_cnn", "lab2b_mimo_cnn"),
        ("words", "words_tuned"),
    ],
)
def test_every_search_runs(search: str, experiment: str, workplace: Path) -> None:
    assert {p.stem for p in (CONF / "hparams_search").glob("*.yaml")} == {"genre", "genre_tuned", "mimo_cnn", "words"}
    done = succeed(
        "speechml-train", "-m", f"experiment={experiment}", f"hparams_search={search}", *few_of(experiment, workplace),
        "debug=limit", "trainer.max_epochs=1", "hydra.sweeper.n_trials=1",
    )  # fmt: skip
    assert "Trials: 1 done" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["fdr", "limit", "overfit", "profiler"])
def test_every_debug_mode_runs(mode: str, train: Callable[..., Path]) -> None:
    extra = ("trainer.max_epochs=2",) if mode == "overfit" else ()
    folder = train("experiment=lab2a_fir", f"debug={mode}", *extra, *TINY)
    assert folder.parent.name == "debug"
    assert (folder / "card.json").is_file()


@pytest.mark.parametrize("kind", [*KINDS, "pairs"])
def test_every_data_config_of_a_kind_has_the_keys_that_its_experiments_set(kind: str) -> None:
    """So that `data=...` stays one override away from every experiment."""
    keys_of = {name: set(composed("train", f"data={name}")["data"]) for name in data_of(kind)}
    set_by_experiments = set()
    for experiment in (e for e in EXPERIMENTS if kind_of(e) == kind):
        text = (CONF / "experiment" / f"{experiment}.yaml").read_text()
        set_by_experiments |= set(yaml.safe_load(text).get("data", {}))
    for name, keys in keys_of.items():
        assert set_by_experiments <= keys, name


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_takes_other_data_of_its_kind_with_one_override(experiment: str, workplace: Path) -> None:
    make_pairs(workplace / "mine")
    pairs = [["data=wav_pairs", "data.root=mine"], ["data=mixed_pairs", "data.clean=a", "data.noise=b"]]
    words = [["data=spoken_words"], ["data=speech_commands", "data.root=mine"]]
    genre = [["data=genre_features", "data.root=mine"]]
    for data in {"words": words, "genre": genre, "pairs": pairs}[kind_of(experiment)]:
        check_config(resolve_config(composed("train", f"experiment={experiment}", *data)))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("+trainer.limit_train_batch=3", "trainer.limit_train_batch; did you mean trainer.limit_train_batches?"),
        ("+optimizer.momentun=0.9", "optimizer.momentun; did you mean optimizer.momentum?"),
        ("+model.net.tap=3", "model.net.tap; did you mean model.net.taps?"),
        ("+data.batchsize=3", "data.batchsize; did you mean data.batch_size?"),
        ("+checkpoint.monitr=x", "checkpoint.monitr; did you mean checkpoint.monitor?"),
        ("+sed=3", "there is no key sed; did you mean seed?"),
        ("+callbacks.listening.recording=3", "did you mean callbacks.listening.recordings?"),
        ("+zzz.yyy=3", "there is no key zzz"),
        ("+optimizer.momentum=0.9", ""),
    ],
)
def test_an_added_key_that_nothing_reads_is_refused_with_the_nearest(override: str, words: str) -> None:
    with pytest.raises(UserError) if words else nullcontext() as refused:
        check_config(resolve_config(composed("train", "experiment=lab2b_mimo_cnn", override)))
    assert not words or words in str(refused.value)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["optimizer.lrr=1"], 1, "there is no key optimizer.lrr; did you mean optimizer.lr?"),
        (
            ["data.root=mine"],
            1,
            "no key data.root in the chosen data; it belongs to data=genre_features or data=lab_pairs or",
        ),
        (["experiment=lab2b_mimo"], 1, "did you mean lab2b_mimo_cnn?"),
        (["data=wav_pairs"], 2, "data.root must be given"),
        (["data=wav_pairs", "data.root=nowhere"], 2, "nowhere is no folder"),
        (["experiment=lab2b_mimo_cnn", "model.net.taps=[40]"], 2, "features needs 2 numbers"),
        (["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "optimizer=lbfgs"], 2, "LBFGS searches along"),
        (["checkpoint.test_weights=bset"], 2, "checkpoint.test_weights is bset; it can be best or last"),
        (["-m", "hparams_search=mimo"], 1, "did you mean mimo_cnn?"),
        (["experimnt=lab2a_fir"], 1, "did you mean experiment?"),
        (["lr=0.1"], 1, "there is no key lr; did you mean optimizer.lr?"),
        (["~callbacks", "callbacks.figures=null"], 1, "there is no key callbacks\n"),
        (["epochs=3"], 1, "there is no key epochs; did you mean trainer.max_epochs?"),
        (["data.count=120"], 1, "no file sets data.count; write +data.count=VALUE"),
        (["batch_size=8"], 1, "there is no key batch_size; did you mean data.batch_size?"),
        (
            ["experiment=mimo_cnn_tuned", "optimizer=sgd"],
            2,
            "'~optimizer.max_iter' leaves out what a file sets",
        ),
        (["-m", "seed=1,2", "hydra.launcher.timeout_min=20"], 1, "name the launcher as well, as hydra/launcher=slurm"),
        (["experiment=nothing"], 1, "files of yours are looked for where $SPEECHML_CONF says"),
        (["trainer={max_step: 5}"], 1, "did you mean trainer.max_steps?"),
        (["hydra/launcher=slurm", "hydra.launcher.partitoin=x", "-m", "seed=1,2"], 1, "mean hydra.launcher.partition?"),
        (["learning_rate=0.1"], 1, "there is no key learning_rate; did you mean optimizer.lr?"),
        (
            ["optimizer={_target_: torch.optim.SGD, etas: 1}"],
            1,
            "'+optimizer={_target_: torch.optim.SGD, etas: 1}' puts it in its place",
        ),
        (["-m", "optimizer.lr=interval(0.1,1)"], 2, "add hydra/sweeper=optuna to search it"),
        (["optimizer.lr=0.1,0.2"], 1, "optimizer.lr=0.1,0.2 describes several runs; add -m"),
        (["runs/a/b"], 1, "'runs/a/b' is not understood; overrides are written key=value"),
        (["paths.runs=/proc/nowhere"], 2, "cannot be written to"),
        (["model._target_=os.system"], 2, "is refused"),
    ],
)
def test_a_wrong_command_is_one_sentence_and_leaves_nothing(
    words: list[str], code: int, says: str, workplace: Path
) -> None:
    done = command("speechml-train", *words)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr + done.stdout
    assert not list(workplace.glob("runs/*/*/*"))
