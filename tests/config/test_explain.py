"""Every key of every shipped config is explained, and what is said of it is so."""

import sys
from functools import cache
from pathlib import Path

import pytest

from conftest import speechml
from speechml.config.compose import WHOLE, conf_dir
from speechml.config.explain import app_help, dotted_keys, explain, explain_key, find_key, heading
from speechml.config.hydra_compat import Composition, compose_with_sources, pick

CONF = Path(conf_dir())
GROUPS = sorted({str(path.parent.relative_to(CONF)) for path in CONF.rglob("*.yaml")} - {".", "hydra"})
WAYS = [(f"{group}={path.stem}",) for group in WHOLE for path in (CONF / group).glob("*.yaml")]
LAB = "experiment=lab2b_mimo_cnn"


@cache
def compose_once(*overrides: str) -> Composition:
    """A config that several tests look at."""
    return compose_with_sources(str(CONF), "evaluate" if "run=x" in overrides else "train", list(overrides))


@pytest.mark.parametrize("way", [*WAYS, ("run=x", "data=wav_pairs"), ("hydra/launcher=slurm",)], ids=" ".join)
def test_every_key_of_every_shipped_config_is_explained(way: tuple[str, ...]) -> None:
    needs = ("experiment=genre_mlp", "data.root=x") if way == ("hparams_search=genre",) else ()  # whose keys it sets
    raw = compose_once(*needs, *way).raw
    ours = [
        key for key in dotted_keys(raw) if key.startswith(("hydra.launcher.", "hydra.sweeper.")) or key[:5] != "hydra"
    ]
    if "_internal" in str(raw["hydra"]["launcher"]):
        ours = [key for key in ours if not key.startswith("hydra.launcher")]
    if "_internal" in str(raw["hydra"]["sweeper"]):
        ours = [key for key in ours if not key.startswith("hydra.sweeper")]
    assert [key for key in ours if find_key(raw, key) is None] == []


@pytest.mark.parametrize("group", GROUPS)
def test_the_choices_of_a_group_are_its_files_and_each_says_what_it_is(group: str) -> None:
    files = {path.stem: path for path in (CONF / group).glob("*.yaml")}
    text = explain_key(compose_once(), group)
    for name, path in files.items():
        assert f"{group}={name}" in text
        assert heading(path), f"{path} has no first comment"
        assert heading(path) in text


@pytest.mark.parametrize("way", [("experiment=words_tuned",), ("experiment=hw2_cnn2d_tuned", "hydra/launcher=slurm")])
def test_every_key_of_a_config_can_be_asked_for(way: tuple[str, ...]) -> None:
    for key in dotted_keys({key: value for key, value in compose_once(*way).raw.items() if key != "hydra"}):
        text = explain_key(compose_once(*way), key)
        if not isinstance(pick(compose_once(*way).raw, key), dict):
            for label in ("type", "unit", "default", "from", "allowed", "why"):
                assert f"\n{label:<10} " in text, (key, label)


@pytest.mark.parametrize(
    ("key", "overrides", "says"),
    [
        ("optimizer.lr", [LAB], ["optimizer.lr = 0.5", "default    0.1 (conf/optimizer/sgd.yaml)", "why        size of a step",
                              "from       conf/experiment/lab2b_mimo_cnn.yaml (before: 0.1 by conf/optimizer/sgd.yaml"]),
        ("optimizer.lr", ["experiment=words_mel", "data.root=x", "optimizer.lr=0.2"],
         ["= 0.2", "from       the command line (before: 0.01 by conf/experiment/words_spectrogram.yaml, 0.001 by conf/opt"]),
        ("optimizer.lr", ["hparams_search=words"], ["searched   tag(log, interval(0.001, 0.01)), with -m"]),
        ("model.sample_rate", [LAB], ["= 32000", "taken from data.sample_rate = 32000"]),
        ("paths.runs", [], ["taken from $SPEECHML_RUNS"]),
        ("data.root", ["experiment=words_tuned"], ["data.root must be given"]),
        ("model.loss", [LAB, "model.loss=l3"], ["allowed    l1, mse, mse_sum, snr, si_sdr, mr_stft or a section that"]),
        ("trainer.max_epochs", ["experiment=words_tuned", "debug=limit"], ["= 3", "conf/debug/limit.yaml (before: 1000 by"]),
        ("optimizer.max_iter", [LAB], ["optimizer=sgd has no such key", "has it     optimizer=lbfgs"]),
        ("data.count", [LAB], ["+data.count=VALUE sets it", "default    1500", "why        how many pairs"]),
        ("+trainer.limit_train_batches", [], [" trainer.limit_train_batches=VALUE sets it"]),
        ("model.augment.speed", ["experiment=words_mel"], ["'model.augment={speed: VALUE}' sets it"]),
        ("callbacks.listening.recordings", ["callbacks=words"], ["has it     callbacks=default"]),
        ("hydra.launcher.partition", ["hydra/launcher=slurm"], ["hydra.launcher.partition = null", "sinfo"]),
        ("hydra.sweeper.n_trials", ["hparams_search=genre"], ["= 50", "before: 20 by conf/hydra/sweeper/optuna.yaml"]),
        ("run", [], ["run must be given", "conf/evaluate.yaml"]),
        ("hydra.sweeper.params.optimizer.lr", ["hparams_search=words"], ["params.optimizer.lr = tag(log, interval(0.001"]),
        ("model.net.width", [], ["default    128", "has it     model=m5", "model=spectrogram_resnet"]),
        ("optimizer", [LAB], ["optimizer = sgd", "optimizer=sgd (chosen)", "optimizer.lr = 0.5"]),
        ("hydra.launcher", [], ["hydra/launcher = basic", "hydra/launcher=slurm"]),
    ],
)  # fmt: skip
def test_a_key_is_explained_by_who_gave_it_its_value(key: str, overrides: list[str], says: list[str]) -> None:
    text = explain(key, overrides) if key[0] in "+r" else explain_key(compose_once(*overrides), key)
    for words in says:
        assert words in text, text


def test_what_is_said_to_set_a_key_sets_it() -> None:
    for word in ("+data.count=7", "++trainer.limit_train_batches=2"):
        key, _, value = word.partition("=")
        assert compose_once(word).value(key.lstrip("+")) == int(value)
    assert compose_once("experiment=words_mel", "model.augment={speed: 0.2}").value("model.augment.speed") == 0.2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["optimizer.lrr"], "there is no key optimizer.lrr; did you mean optimizer.lr?"),
        (["lr"], "there is no key lr; did you mean optimizer.lr?"),
        (["nonsense"], "there is no key nonsense"),
        ([""], "the key is empty"),
        (["optimizer.lr=3"], "name the key first, as in speechml explain optimizer.lr optimizer.lr=3"),
        (["optimizer.lr", "optimizer.lr=1,2"], "optimizer.lr=1,2 describes several configs; give one value"),
        (["optimizer.lr", "optimizer=sgdd"], "did you mean sgd?"),
        (["optimizer.lr", "nonsense"], "'nonsense' is not understood"),
        (["trainer.limit_train_batch"], "did you mean trainer.limit_train_batches?"),
    ],
)
def test_a_wrong_question_is_one_sentence(
    words: list[str], says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert speechml(monkeypatch, "explain", *words) == 2
    assert sys.argv == ["speechml", "explain", *words]  # by which sweeps are named
    printed = capsys.readouterr()
    assert says in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""


def test_a_users_own_folder_is_named(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workplace / "mine" / "experiment").mkdir(parents=True)
    (workplace / "mine" / "experiment" / "loud.yaml").write_text(
        "# @package _global_\n# Large steps.\noptimizer:\n  lr: 0.9   # as my teacher said\n"
    )
    monkeypatch.setenv("SPEECHML_CONF", "mine")
    assert "from       mine/experiment/loud.yaml (before: 0.1 by conf/optimizer/sgd.yaml" in explain(
        "optimizer.lr", ["experiment=loud"]
    )
    assert "experiment=loud (chosen)" in explain("experiment", ["experiment=loud"])


def test_an_argument_of_a_users_class_is_not_explained_as_the_section_that_it_is_in() -> None:
    words = ["experiment=lab2a_fir", "model.loss={_target_: torch.nn.SmoothL1Loss, beta: 0.1}"]
    assert "an argument of the class that is built" in explain("model.loss.beta", words)
    assert "what training lowers" not in explain("model.loss.beta", words)
    assert "what training lowers" in explain("model.loss", words)


def test_help_has_a_line_for_each_key_and_names_the_choices() -> None:
    text = app_help("train", [LAB, "optimizer=adam"])
    assert "optimizer.lr = 0.5" in text
    assert "size of a step: too small learns slowly" in text
    assert "adam, adamw, lbfgs, none, sgd" in text
    assert "run = must be given" in app_help("evaluate", [])
