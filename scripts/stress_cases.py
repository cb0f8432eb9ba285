"""Commands that nobody should type, and files that nobody should have, drawn from a seed; each is text that can be kept."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import soundfile

from speechml.config.schedules import CosineAnnealingLR, OneCycleLR
from speechml.config.schema import Schema, walk
from speechml.config.third_party import LBFGS, SGD, Adam, AdamW, Trainer
from speechml.config.train_config import TrainConfig
from speechml.data.schema import WavPairs
from speechml.models.schema import FIR, MLP
from speechml.music.schema import GenreFeatures
from speechml.tasks.schema import Classification, WaveformDenoiser

CONF = Path(__file__).parents[1] / "conf"
SHORT = ("threads=1", "trainer.max_epochs=1", "trainer.limit_train_batches=2", "callbacks.figures=null")
GENRE = ("experiment=genre_mlp", "data.root=x.npz", *SHORT)
PAIRS = ("experiment=lab2a_fir", "data=wav_pairs", "data.root=pairs", "data.clip_s=0.25", "data.sample_rate=8000",
         "model.sample_rate=8000", "model.net.taps=8", *SHORT)  # fmt: skip
SECTIONS: dict[str, list[type[Schema]]] = {
    "": [TrainConfig], "trainer.": [Trainer], "optimizer.": [SGD, Adam, AdamW, LBFGS],
    "scheduler.": [CosineAnnealingLR, OneCycleLR], "data.": [WavPairs, GenreFeatures],
    "model.": [WaveformDenoiser, Classification], "model.net.": [FIR, MLP],
}  # fmt: skip
ENDLESS = ("max_epochs", "max_steps", "min_epochs", "min_steps")  # large values are honoured, and take for ever
VALUES = [
    "null", "true", "false", "-1", "0", "1", "2", "7", "0.5", "1.5", "-0.5", "1e-9", "1e400", "nan", "abc",
    "''", "[]", "[1]", "[0.5]", "[a]", "[1,[2]]", "{}", "{a: 1}", "{_target_: os.system}",
    "{_target_: torch.nn.ReLU}", "???", "${seed}", "${nowhere}", "${oc.env:HOME}", "99999999999999999999",
    "1000000000000", "'a b'", "Müller", "a=b", "~/x", "..", "/dev/null", "$HOME", "a#b", "\udcff", "😀", "-",
]  # fmt: skip
JUNK = [
    "=", "a", "=1", "seed", "seed=", "+", "~", "++seed=1", "+seed=1", "~seed", "seed=1=2", "[x]", "seed@x=1",
    "data@x=wav_pairs", "--cfg", "--cfg=x", "--info", "-x", "--multirun=x", "hydra.mode=X",
    "hydra.run.dir=/tmp", "hydra/launcher=zzz", "hydra=null", "seed=1,2", "seed=range(1,", "seed=interval(0,1)",
    "seed=choice()", "'seed=1'", "seed='1", 'seed="', "\\", "seed=\\", " ",
]  # fmt: skip


@dataclass
class Case:
    """A command and the files that it finds, beside those that all cases have.

    Attributes:
        kind: of the case.
        words: the command.
        files: by their places in the folder that it works in: "text:...", "base64:...", "link:TARGET", "fifo:" or "gone:".
        environment: further variables.
    """

    kind: str
    words: list[str]
    files: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)


def raw(content: bytes) -> str:
    """Bytes, as a case has them."""
    return f"base64:{base64.b64encode(content).decode()}"


@cache
def all_keys() -> list[str]:
    """Every key that a run of the cases may have."""
    keys = {prefix + name for prefix, schemas in SECTIONS.items() for schema in schemas for name, _ in walk(schema)}
    further = {prefix + name for prefix, schemas in SECTIONS.items() for schema in schemas for name in schema.FURTHER}
    return sorted(
        keys | further | {"data.nothing", "model._target_", "optimizer._target_", "callbacks.x", "metrics.x", "hydra.x"}
    )


@cache
def choices() -> list[str]:
    """Every choice of a file of a group."""
    return sorted(f"{path.parent.relative_to(CONF)}={path.stem}" for path in CONF.glob("*/**/*.yaml"))


def override(draws: Random) -> str:
    """An override that is seldom right."""
    match draws.randrange(10):
        case 0:
            return draws.choice(choices())
        case 1:
            return draws.choice(choices()).partition("=")[0] + draws.choice(["=null", "=zzz", "=", "=none", "=[a]"])
        case 2:
            return "~" + draws.choice([draws.choice(all_keys()), draws.choice(choices()).partition("=")[0]])
        case 3:
            return draws.choice(JUNK)
    key, value = draws.choice(all_keys()), draws.choice(VALUES)
    if key.rpartition(".")[2] in ENDLESS and value.isdigit() and len(value) < 20:
        value = "1"
    return draws.choice(["", "", "", "+", "++"]) + f"{key}={value}"


def draw_overrides(draws: Random) -> Case:
    """A training, a sweep, or a look at a config, with a few wrong overrides."""
    words = [override(draws) for _ in range(draws.choice([1, 1, 1, 2, 3]))]
    base = list(draws.choice([GENRE, PAIRS]))
    match draws.randrange(12):
        case 0:
            return Case("overrides", ["speechml", "explain", draws.choice([*all_keys(), *choices(), *VALUES]), *words])
        case 1:
            return Case("overrides", ["speechml", draws.choice(["audit", "data"]), *base, *words])
        case 2:
            return Case("overrides", ["speechml", "sweep", "plan", *base, *words, "seed=1,2"])
        case 3:
            return Case(
                "overrides", ["speechml-train", "-m", *base, *words, "optimizer.lr=0.1," + draws.choice(VALUES)]
            )
        case 4:
            return Case(
                "overrides", ["speechml-train", *base, *words, draws.choice(["--help", "--cfg=job", "find_lr=true"])]
            )
    return Case("overrides", ["speechml-train", *base, "report=false", *words])


YAMLS = [
    "a: [", "\t", "a: &a [*a]", "!!python/object/apply:os.system [id]", "a: 1\na: 2", "- 1\n- 2", "3", "'",
    "a: !!binary x", "? a", "{" * 300, "a:\n  - b\n c: d", "seed: 08", "seed: 1_0", "seed: 2024-01-01",
    "seed: .inf", "trainer: 3", "optimizer: [1]", "defaults: 3", "defaults: [nowhere]",
    "defaults: [{data: null}]", "defaults: [/optimizer: zzz]", "callbacks: {x: {a: 1}}", "metrics: {a: 1}",
    "name: ''", "name: ../../x", "name: /x", "paths: {runs: ../outside}", "data: {root: ${nowhere}}",
    "x1: &a [1,1,1]\nx2: &b [*a,*a,*a]\nx3: &c [*b,*b,*b]\nx4: [*c,*c,*c]",
]  # fmt: skip

BOMB = "x0: &x0 [1,1,1]\n" + "\n".join(f"x{i}: &x{i} [*x{i - 1},*x{i - 1},*x{i - 1}]" for i in range(1, 30))


def draw_configs(draws: Random) -> Case:
    """A config file of the user's own that is wrong."""
    text = draws.choice(["# @package _global_\n", ""]) + draws.choice(YAMLS)
    for _ in range(draws.randrange(3)):
        key, value = draws.choice(all_keys()), draws.choice(VALUES)
        if key.rpartition(".")[2] not in ENDLESS:
            text += f"\n{key if draws.random() < 0.3 else key.replace('.', ': {', 1)}: {value}" + "}" * (
                draws.random() < 0.8
            )
    content = text.encode("utf-8", "surrogateescape")
    if draws.random() < 0.3:
        content = damage(content, draws)
    group = draws.choice(
        ["experiment", "optimizer", "trainer", "callbacks", "data", "debug", "hparams_search", "hydra/launcher"]
    )
    words = ["speechml-train", *draws.choice([GENRE, PAIRS]), f"{group}=mine", "report=false"]
    return Case("configs", words, {f"conf/{group}/mine.yaml": raw(content)}, {"SPEECHML_CONF": "conf"})


def damage(content: bytes, draws: Random) -> bytes:
    """Bytes with some changed, cut, doubled, or put in between."""
    changed = bytearray(content)
    place = draws.randrange(len(changed) + 1) if draws.random() < 0.6 else draws.randrange(min(len(changed), 80) + 1)
    match draws.randrange(5):
        case 0:
            return bytes(changed[:place])
        case 1:
            return bytes(changed[:place] + draws.randbytes(draws.choice([1, 4, 100])) + changed[place:])
        case 2:
            return bytes(changed + changed[:place])
        case 3:
            return bytes(changed[:place] + draws.choice([b"\0", b"\xff", b"\x7f"]) * 8 + changed[place + 8 :])
    for _ in range(draws.choice([1, 2, 20])):
        if changed:
            changed[draws.randrange(len(changed))] = draws.randrange(256)
    return bytes(changed)


STRANGE: list[Any] = [
    None,
    True,
    -1,
    0,
    1e308,
    2**70,
    "",
    "x",
    "\x1b[31m",
    "../../x",
    "/etc/passwd",
    [],
    [[]],
    {},
    {"a": {}},
    "<script>",
]


def changed_json(value: Any, draws: Random) -> Any:
    """A JSON value in which one part is another, or is gone."""
    if isinstance(value, dict) and value and draws.random() < 0.9:
        key = draws.choice(sorted(value))
        if draws.random() < 0.1:
            return {name: item for name, item in value.items() if name != key}
        return {**value, key: changed_json(value[key], draws)}
    return draws.choice(STRANGE)


RUNS = Path(__file__).parents[1] / "tests" / "fixtures" / "runs" / "runs"
DENOISER, CLASSIFIER = "lab2a_fir/2e419249ef", "genre_mlp/1fe85111aa"


def draw_runs(draws: Random) -> Case:
    """A run with a damaged, forged or foreign file in it, and a command that looks at it."""
    run = draws.choice([DENOISER, CLASSIFIER])
    path = draws.choice(sorted(p for p in (RUNS / run).rglob("*") if p.is_file()))
    name, content = f"runs/{run}/{path.relative_to(RUNS / run)}", path.read_bytes()
    match draws.randrange(8):
        case 0:
            change = draws.choice(
                ["fifo:", "gone:", "link:/dev/zero", "link:../../../outside/secret.txt", "link:.", "text:"]
            )
        case 1 | 2 | 3:
            name = f"runs/{run}/card.json"
            change = "text:" + json.dumps(changed_json(json.loads((RUNS / run / "card.json").read_text()), draws))
        case 4:
            name, change = f"runs/{run}/config.yaml", "text:" + draws.choice([*YAMLS, BOMB])
        case 5:
            name = f"runs/{run}/{draws.choice(['.lock', 'figures/x.png', 'audio/x.wav', 'audio/index.json', 'report.html', 'x'])}"
            change = draws.choice(["fifo:", "link:../../../outside/secret.txt", "text:x", "link:/dev/zero"])
        case _:
            change = raw(damage(content, draws))
    folder, other = f"runs/{run}", "runs/" + draws.choice([DENOISER, CLASSIFIER])
    commands = [
        ["speechml", "runs", "list"], ["speechml", "runs", "show", folder], ["speechml", "runs", "verify", "runs"],
        ["speechml", "report", folder, "-o", "out/page.html"], ["speechml", "report", "runs", "-o", "out/page.html"],
        ["speechml", "compare", folder, other], ["speechml", "export", folder, "out/model"],
        ["speechml", "sweep", "status", "runs"],
        ["speechml", "denoise", folder, "one.wav", "-o", "out"], ["speechml", "classify", folder, "one.wav"],
        ["speechml", "runs", "remove", folder, "--yes"], ["speechml-evaluate", f"run={folder}", "threads=1"],
    ]  # fmt: skip
    return Case("runs", draws.choice(commands), {name: change})


def tone_file(draws: Random, form: str) -> bytes:
    """A short recording in a format of soundfile's."""
    file = io.BytesIO()
    rate = draws.choice([8000, 16000])
    samples = np.sin(np.arange(rate // 4) / 7) * 0.3
    soundfile.write(file, np.stack([samples] * draws.choice([1, 2]), 1), rate, format=form)
    return file.getvalue()


def draw_audio(draws: Random) -> Case:
    """A recording with a damaged header, and a command that reads it."""
    form = draws.choice(["WAV", "WAV", "FLAC", "OGG", "MP3", "AIFF", "W64", "CAF", "AU"])
    content = damage(tone_file(draws, form), draws)
    name = f"bad.{draws.choice([form.lower(), 'wav'])}"
    commands = [
        ["speechml", "denoise", f"runs/{DENOISER}", name, "-o", "out"], ["speechml", "classify", f"runs/{CLASSIFIER}", name],
        ["speechml-train", *PAIRS, "report=false"], ["speechml", "audit", *PAIRS], ["speechml", "data", "prepare", *PAIRS],
    ]  # fmt: skip
    words = draws.choice(commands)
    return Case("audio", words, {name if name in words else f"pairs/noisy/{draws.randrange(4)}.wav": raw(content)})


def draw_features(draws: Random) -> Case:
    """A file of features that is damaged, or holds what features are not."""
    rows = draws.choice([0, 1, 40])
    features: Any = np.random.default_rng(draws.randrange(2**31)).standard_normal((rows, 12))
    labels: Any = np.arange(rows)[:, None] // max(1, rows // 3)
    match draws.randrange(12):
        case 0:
            features[:: draws.choice([1, 5])] = draws.choice([np.nan, np.inf, 1e300, -1e300])
        case 1:
            features = features.astype(draws.choice(["f2", "i1", "c8", "?", ">f8", "U5", "S3", "M8[s]"]))
        case 2:
            features = features.reshape(draws.choice([(-1,), (1, -1, 12), (12, -1), (-1, 12, 1)]))
        case 3:
            labels = labels.astype(draws.choice(["f4", "U3", "c8", "?", "u1", "S2"]))
        case 4:
            labels = draws.choice([labels - 1, labels * 10**12, labels[:-1], labels.T, labels + 0.5, labels * 0])
        case 5:
            features = features[:, : draws.choice([0, 1, 11])]
        case 6:
            labels = np.array([draws.choice([None, "x", {}])] * rows, dtype=object)
    names = draws.choice([("Xdata", "Ydata")] * 4 + [("X", "Y"), ("Xdata", "X"), ("../Xdata", "Ydata")])
    file = io.BytesIO()
    with np.errstate(all="ignore"):
        np.savez(file, **dict(zip(names, (features, labels), strict=True)))
    content = damage(file.getvalue(), draws) if draws.random() < 0.5 else file.getvalue()
    words = draws.choice([["speechml-train", *GENRE, "report=false"], ["speechml", "audit", *GENRE]])
    return Case("features", words, {"x.npz": raw(content)})


KINDS: dict[str, Callable[[Random], Case]] = {
    "overrides": draw_overrides, "configs": draw_configs, "runs": draw_runs, "audio": draw_audio, "features": draw_features,
}  # fmt: skip


def draw_case(seed: int, number: int) -> Case:
    """The case of a seed and a number: the same for equal ones."""
    draws = Random(f"{seed}-{number}")
    return KINDS[draws.choice(["overrides", *KINDS])](draws)
