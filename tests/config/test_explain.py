"""Every key of every shipped config is explained, and what is said of it is so."""

import inspect
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from conftest import speechml
from speechml.config.compose import conf_dir
from speechml.config.explain import WHOLE, explain, told
from speechml.config.keys import Entry, entries, entry_of
from speechml.config.origins import ABSENT, Composition, heading, pick
from speechml.errors import UserError

CONF = Path(conf_dir())
GROUPS = sorted({str(path.parent.relative_to(CONF)) for path in CONF.rglob("*.yaml")} - {".", "hydra"})
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
OURS_OF_HYDRA = ("hydra.run.dir", "hydra.output_subdir", "hydra.sweep.dir", "hydra.sweep.subdir")


@cache
def made(*overrides: str) -> Composition:
    """A config that several tests look at."""
    return Composition("evaluate" if "run=x" in overrides else "train", list(overrides))


def entry(config: dict[str, Any], key: str) -> Entry | None:
    words = key.split(".")
    around = [pick(config, [*words[:end], "_target_"]) for end in range(len(words), 0, -1)]
    return entry_of(key, [str(name).rpartition(".")[2] for name in around if name is not ABSENT])


def keys(config: dict[str, Any], root: dict[str, Any] | None = None, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of a config with its value; those of a mapping of anybody's words are no keys."""
    root = root or config
    for name, value in config.items():
        yield f"{prefix}{name}", value
        known = entry(root, f"{prefix}{name}")
        if isinstance(value, dict) and not (known and known.type.startswith("mapping")):
            yield from keys(value, root, f"{prefix}{name}.")


def shipped() -> Iterator[tuple[str, dict[str, Any], str, Any]]:
    """Where, in which config, which key, with what value: of every file, and of every experiment as it is composed."""
    composed = made()
    for group in [group for group in GROUPS if group not in WHOLE]:
        for path in (CONF / group).glob("*.yaml"):
            config = composed.of_option(group, path.stem)
            yield from ((path.name, config, key, value) for key, value in keys(config))
    ways = [(f"experiment={name}",) for name in EXPERIMENTS]
    ways += [(f"{group}={path.stem}",) for group in WHOLE[1:] for path in (CONF / group).glob("*.yaml")]
    for way in [*ways, ("run=x", "data=wav_pairs")]:
        config = {key: value for key, value in made(*way).raw.items() if key != "hydra"}
        yield from ((way[0], config, key, value) for key, value in keys(config))
        sweeper = {"hydra": {"sweeper": made(*way).raw["hydra"]["sweeper"]}}
        if "hparams" in way[0]:
            yield from ((way[0], sweeper, key, value) for key, value in keys(sweeper))
    for key in OURS_OF_HYDRA:
        yield "hydra/default", composed.raw, key, pick(composed.raw, key.split("."))


@cache
def every() -> list[tuple[str, dict[str, Any], str, Any]]:
    """All of `shipped`, for several tests."""
    return list(shipped())


def test_every_key_of_every_shipped_config_is_explained() -> None:
    missing = {f"{where}: {key}" for where, config, key, _ in every() if entry(config, key) is None}
    assert not missing, "give them a line in src/speechml/explain/keys.yaml"


def test_hydras_keys_of_our_own_file_are_all_asked_for() -> None:
    given = {key for key, value in keys(made().of_option("hydra", "default")) if not isinstance(value, dict)}
    assert given == set(OURS_OF_HYDRA)


def test_no_explanation_is_of_a_key_that_is_gone() -> None:
    used = {id(entry(config, key)) for _, config, key, _ in every()} | {id(entry({}, group)) for group in WHOLE}
    used |= {id(entry({}, f"hydra.{name}")) for name in ("launcher", "sweeper", "run", "sweep")} | {
        id(entry({}, "hydra"))
    }
    gone = [(key, of) for key, variants in entries().items() for of, known in variants if id(known) not in used]
    assert gone == []


def test_every_shipped_value_is_of_its_type_and_allowed() -> None:
    wrong = []
    for where, config, key, value in every():
        known = entry(config, key)
        if value != "???" and "${" not in str(value) and known and not known.fits(value):
            wrong.append((where, key, value, known.type, known.range))
    assert wrong == []


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_values_that_are_taken_from_others_are_allowed_as_well(experiment: str) -> None:
    composed = made(f"experiment={experiment}")
    for key, raw in keys({key: value for key, value in composed.raw.items() if key != "hydra"}):
        if isinstance(raw, str) and "${" in raw:
            known, value = entry(composed.raw, key), composed.value(key)
            assert known is not None
            assert known.fits(value), (key, value)


def test_every_explanation_is_one_line_with_a_reason() -> None:
    for key, variants in entries().items():
        for _, known in variants:
            assert 10 < len(known.why) < 130, key
            assert "\n" not in known.why, key


def choices(key: str, of: str = "") -> set[Any]:
    known = entry_of(key, [of])
    assert known is not None
    return set(known.one_of)


def test_the_choices_are_those_that_the_code_knows() -> None:
    from speechml.data import clips
    from speechml.data.download import VERSIONS
    from speechml.models import mlp, stft_cnn
    from speechml.music import data as genre_features
    from speechml.signal.front_ends import KINDS
    from speechml.tasks import stft_denoising as magnitude_denoising
    from speechml.tasks import waveform_denoising
    from speechml.tasks.stft_windows import TARGETS

    assert choices("model.loss") == set(waveform_denoising.LOSSES)
    assert choices("model.loss", "MagnitudeDenoiser") == set(magnitude_denoising.LOSSES)
    assert choices("model.sampling") == set(magnitude_denoising.SAMPLINGS)
    assert choices("model.padding") == set(magnitude_denoising.PADDINGS)
    assert choices("model.target") == set(TARGETS)
    assert choices("model.front_end.kind") == set(KINDS)
    assert choices("model.net.activation") == set(stft_cnn.ACTIVATIONS)
    assert choices("model.net.output") == set(stft_cnn.OUTPUTS)
    assert choices("model.net.inputs") == set(stft_cnn.INPUTS)
    assert choices("model.net.activation", "MLP") == set(mlp.ACTIVATIONS)
    assert choices("data.split") == set(clips.SPLIT_RULES)
    assert choices("data.protocol") == set(genre_features.PROTOCOLS)
    assert choices("data.download") == set(VERSIONS)


def test_what_holds_without_a_key_is_what_its_class_says() -> None:
    import torch
    from lightning.pytorch import Trainer

    from speechml.signal.augmentation import Augmentation

    signatures = {"trainer": Trainer, "optimizer": torch.optim.SGD, "model.augment": Augmentation}
    for key, variants in entries().items():
        for _, known in variants:
            if known.unset is not ...:
                section, _, name = key.rpartition(".")
                default = inspect.signature(signatures[section]).parameters[name].default
                assert (list(default) if isinstance(default, tuple) else default) == known.unset, key


def test_values_beyond_the_bounds_are_refused_by_the_code_as_well() -> None:
    from speechml.callbacks import EarlyStopping
    from speechml.data import RecordingPair, SpokenWords, WavPairs
    from speechml.models import FIR, MLP
    from speechml.signal.augmentation import Augmentation
    from speechml.signal.stft import STFT
    from speechml.sweep.slurm_script import resources
    from speechml.tasks.classification import Classification

    common: dict[str, Any] = {"sample_rate": 16000, "batch_size": 4, "split_seed": 0}
    slurm = made("hydra/launcher=slurm").raw["hydra"]["launcher"]
    for key, of, value, use in (
        ("data.heldout", "RecordingPair", 0.9, lambda v: RecordingPair(heldout=v, clip_s=1.0, **common)),
        ("data.clip_s", "WavPairs", 0, lambda v: WavPairs("x", clip_s=v, **common)),
        ("data.batch_size", "WavPairs", 0, lambda v: WavPairs("x", clip_s=1.0, **{**common, "batch_size": v})),
        ("data.batch_size", "SpokenWords", 1, lambda v: SpokenWords(**{**common, "batch_size": v})),
        ("data.voices", "SpokenWords", 2, lambda v: SpokenWords(voices=v, **common)),
        ("data.stereo", "WavPairs", "left", lambda v: WavPairs("x", stereo=v, clip_s=1.0, **common)),
        ("model.net.taps", "FIR", 0, FIR),
        ("model.net.layers", "MLP", -1, lambda v: MLP(layers=v)),
        ("model.n_fft", "MagnitudeDenoiser", 0, STFT),
        ("model.label_smoothing", "Classifier", 1, lambda v: Classification(label_smoothing=v)),
        ("model.augment.speed", "Classifier", 1, lambda v: Augmentation(speed=v).check()),
        ("model.augment.mix", "Classifier", 1.1, lambda v: Augmentation(mix=v).check()),
        ("callbacks.early_stopping.after", "", 1.1, lambda v: EarlyStopping(after=v, monitor="val/loss")),
        ("hydra.launcher.timeout_min", "", 0, lambda v: resources({**slurm, "timeout_min": v}, {})),
        ("hydra.launcher.cpus_per_task", "", 0, lambda v: resources({**slurm, "cpus_per_task": v}, {})),
    ):
        known = entry_of(key, [of])
        assert known is not None
        assert not known.fits(value), key
        with pytest.raises((UserError, ValueError)):
            use(value)


@pytest.mark.parametrize("group", GROUPS)
def test_the_choices_of_a_group_are_its_files_and_each_says_what_it_is(group: str) -> None:
    files = {path.stem: path for path in (CONF / group).glob("*.yaml")}
    text = told(made(), group)
    for name, path in files.items():
        assert f"{group}={name}" in text
        assert heading(path), f"{path} has no first comment"
        assert heading(path) in text


@pytest.mark.parametrize("way", [("experiment=words_tuned",), ("experiment=hw2_cnn2d_tuned", "hydra/launcher=slurm")])
def test_every_key_of_a_config_can_be_asked_for(way: tuple[str, ...]) -> None:
    for key, value in keys({key: value for key, value in made(*way).raw.items() if key != "hydra"}):
        text = told(made(*way), key)
        if not isinstance(value, dict):
            for label in ("type", "unit", "default", "from", "allowed", "why"):
                assert f"\n{label:<10} " in text, (key, label)


@pytest.mark.parametrize(
    ("key", "overrides", "says"),
    [
        ("optimizer.lr", [], ["optimizer.lr = 0.5", "default    0.1 (conf/optimizer/sgd.yaml:", "why        size of a step",
                              "from       conf/experiment/lab2b_mimo_cnn.yaml:11 (before: 0.1 by conf/optimizer/sgd.yaml:"]),
        ("optimizer.lr", ["experiment=words_mel", "data.root=x", "optimizer.lr=0.2"],
         ["= 0.2", "from       the command line (before: 0.01 by conf/experiment/words_spectrogram.yaml:11, 0.001 by conf/opt"]),
        ("optimizer.lr", ["experiment=words_mel"], ['says       "the maximum of the one-cycle schedule']),
        ("optimizer.lr", ["hparams_search=words"], ["searched   tag(log, interval(0.001, 0.01)), with -m (conf/hparams_s"]),
        ("model.sample_rate", [], ["= 32000", "taken from data.sample_rate = 32000 (conf/data/spoken_pairs.yaml:3)"]),
        ("paths.runs", [], ["taken from $SPEECHML_RUNS (which is not set)"]),
        ("data.root", ["experiment=words_tuned"], ["data.root must be given"]),
        ("model.loss", ["model.loss=l3"], ["allowed    l1, mse, mse_sum, snr; l3 is not"]),
        ("trainer.max_epochs", ["experiment=words_tuned", "debug=limit"], ["= 3", "conf/debug/limit.yaml:5 (before: 1000 by"]),
        ("optimizer.max_iter", [], ["optimizer=sgd has no such key", "has it     optimizer=lbfgs (20)"]),
        ("data.count", [], ["+data.count=VALUE sets it", "default    1500 (of SpokenPairs", "why        how many pairs"]),
        ("+trainer.limit_train_batches", [], ["+trainer.limit_train_batches=VALUE sets it", "has it     debug=limit (4)"]),
        ("model.augment.speed", ["experiment=words_mel"], ["'model.augment={speed: VALUE}' sets it"]),
        ("callbacks.listening.recordings", ["callbacks.listening=null"], ["callbacks.listening is null, by the command line"]),
        ("hydra.launcher.partition", ["hydra/launcher=slurm"], ["hydra.launcher.partition = null", "sinfo"]),
        ("hydra.sweeper.n_trials", ["hparams_search=genre"], ["= 50", "before: 20 by conf/hydra/sweeper/optuna.yaml:"]),
        ("run", [], ["run must be given", "conf/evaluate.yaml:"]),
        ("optimizer", [], ["optimizer = sgd", "from       conf/experiment/lab2b_mimo_cnn.yaml", "optimizer.lr = 0.5"]),
        ("hydra.launcher", [], ["hydra/launcher = basic", "hydra/launcher=slurm"]),
        ("debug", ["debug=limit"], ["from       the command line (before: null by conf/train.yaml)", "trainer.max_epochs = 3"]),
        ("model.augment", ["experiment=words_mel"], ["model.augment = null", "model.augment.speed (not set)"]),
    ],
)  # fmt: skip
def test_a_key_is_explained_by_where_its_value_came_from(key: str, overrides: list[str], says: list[str]) -> None:
    text = explain(key, overrides) if key[0] in "+r" else told(made(*overrides), key)
    for words in says:
        assert words in text, text


def test_what_is_told_to_set_a_key_sets_it() -> None:
    for word in ("+data.count=7", "+trainer.limit_train_batches=2"):
        key, _, value = word.partition("=")
        assert made(word).value(key.lstrip("+")) == int(value)
    word = "model.augment={speed: 0.2}"
    assert made("experiment=words_mel", word).value("model.augment.speed") == 0.2


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
        (["trainer.limit_train_batch", "+trainer.limit_train_batch=3"], "did you mean trainer.limit_train_batches?"),
    ],
)
def test_a_wrong_question_is_one_sentence(
    words: list[str], says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert speechml(monkeypatch, "explain", *words) == 2
    told = capsys.readouterr()
    assert says in told.err
    assert told.err.count("\n") == 1
    assert told.out == ""


def test_a_users_own_folder_is_named(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workplace / "mine" / "experiment").mkdir(parents=True)
    (workplace / "mine" / "experiment" / "loud.yaml").write_text(
        "# @package _global_\n# Large steps.\noptimizer:\n  lr: 0.9   # as my teacher said\n"
    )
    monkeypatch.setenv("SPEECHML_CONF", "mine")
    text = explain("optimizer.lr", ["experiment=loud"])
    assert "from       mine/experiment/loud.yaml:4 (before: 0.1 by conf/optimizer/sgd.yaml:" in text
    assert 'says       "as my teacher said"' in text
    assert "experiment=loud (chosen)" in explain("experiment", ["experiment=loud"])


def test_a_key_of_the_configs_is_explained_without_loading_torch() -> None:
    lines = (
        "import sys",
        "from speechml.config.explain import explain",
        "explain('optimizer.lr', [])",
        "print('torch' in sys.modules)",
    )
    program = "\n".join(lines)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_refusal_leaves_the_command_line_as_it_was() -> None:
    words = list(sys.argv)
    with pytest.raises(UserError):
        explain("nonsense", ["experiment=words_mel"])
    assert sys.argv == words
