"""Each command of README.md and of docs/ runs, the long ones in small form."""

import os
import shlex
from pathlib import Path

import numpy as np
import pytest
import soundfile

from conftest import TINY, command, make_features, make_pairs, make_words, tone
from documents import ABOUT, ROOT, commands, write_files

# Other tests run these: what installs and builds; tests/report/test_tensorboard.py, tests/sweep/test_slurm.py,
# tests/cli/test_completion.py, tests/cli/test_new.py, tests/engine/test_compiling.py and tests/engine/test_trackers.py.
ELSEWHERE = ("make ", "source ", "export SPEECHML_RUNS", "speechml tensorboard", "eval ", "pytest ")
ELSEWHERE_WORDS = ("hydra/launcher=slurm", "trainer.compile=true", "wandb")
# What a reader of a page has done before.
BEFORE = {
    "docs/cluster.md": ["speechml-train experiment=mimo_cnn_tuned"],
    "docs/first-hour.md": ["speechml-train"],
    "docs/comparing.md": ["speechml-train -m experiment=lab2a_fir 'seed=range(2)' optimizer.lr=0.002,0.005"],
    "docs/runs.md": ["speechml-train experiment=mimo_cnn_tuned data=wav_pairs data.root=my-recordings"],
    "docs/labs.md": ["speechml-train experiment=lab2a_fir"],
    "docs/starting-weights.md": ["speechml-train experiment=words_tuned data.root=FOLDER"],
    "docs/trackers.md": ["speechml-train experiment=lab2a_fir"],
}
SHORT = ["trainer.max_epochs=1", "+trainer.limit_train_batches=1", "callbacks.figures=null", "report=false"]


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page, path in ABOUT.items() if commands(path.read_text())])
def test_the_commands_of_a_page_run(page: str, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each as it stands, but for short trainings on few spoken recordings, without figures and pages."""
    text = ABOUT[page].read_text()
    make_recordings(workplace)
    write_files(text, workplace)
    for line in [*BEFORE.get(page, []), *commands(text)]:
        words = shlex.split(line)
        if line.startswith(ELSEWHERE) or any(part in line for part in ELSEWHERE_WORDS):
            continue
        if words[0] == "export":
            monkeypatch.setenv(*words[1].split("="))
            continue
        with monkeypatch.context() as one:
            while "=" in words[0]:
                name, value = words.pop(0).split("=", 1)
                one.setenv(name, str(ROOT / value) if (ROOT / value).exists() else value)
            done = command(*small(expanded(words)))
        assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}\n{done.stderr}"
    recordings = [len(list(out.glob("*.wav"))) for out in workplace.glob("out")]
    assert recordings == [6] * ("-o out\n" in text or "-o out " in text)


def small(words: list[str]) -> list[str]:
    """A command as it is run here: trainings of one batch, searches of two trials, few recordings."""
    spoken = not any(word.startswith(("data=", "data.root=")) or "hw2" in word for word in words)
    spoken = spoken and not any(word in ("experiment=plain", "experiment=raw_words") for word in words)
    few = list(TINY) if spoken and not any("data.count" in word for word in words) else []
    if words[0] == "speechml-train" and "--help" not in words:
        searches = any(word.startswith(("hparams_search=", "hydra/sweeper=")) for word in words)
        few += ["data.voices=6"] if {"data=spoken_words", "experiment=raw_words"} & set(words) else []
        if "find_lr=true" in words:
            return [*words, "data.batch_size=8", *few]
        short = [word for word in SHORT if not ("debug=overfit" in words and "limit_train_batches" in word)]
        return [*words, *short, *["hydra.sweeper.n_trials=2"] * searches, *few]
    if words[:2] == ["speechml", "reproduce"] and "--read" not in words:
        return [*words, *few, "trainer.max_epochs=1"]
    return [*words, *few] if words[:3] == ["speechml", "data", "prepare"] else words


def expanded(words: list[str]) -> list[str]:
    """As a shell would: folders for `*`, in the order of their names; and for ID the newest run of the experiment."""
    found = [one for word in words for one in (sorted(map(str, Path().glob(word))) if word.endswith("/*") else [word])]
    return [name_placeholders(word) for word in found]


def name_placeholders(word: str) -> str:
    """A word with the folder of the newest run for runs/EXPERIMENT/ID."""
    before, is_of_run, _ = word.partition("/ID")
    folder = Path(before.rpartition("=")[2])
    if not is_of_run:
        return word
    runs = [
        run for run in folder.glob("*") if (run / "card.json").exists() or (run.is_dir() and ".sweeps" in str(folder))
    ]
    return f"{before}/{max(runs, key=os.path.getmtime).name}" if runs else word


def make_recordings(place: Path) -> None:
    """What the commands name as the reader's own: pairs, speech and noise, words, music and its features."""
    random = np.random.default_rng(0)
    for name in ("my-recordings", "pairs-in-a-car", "pairs-in-a-street"):
        make_pairs(place / name)
    for speaker in ("p225", "p226", "p227"):
        for side in ("noisy", "clean"):
            for i in range(3):
                path = place / "my-pairs" / side / f"{speaker}_{i}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, tone(1.2, hz=200 + 40 * i) + 0.01 * random.standard_normal(19200), 16000)
    for speaker in ("anna", "ben", "cleo"):
        make_pairs(place / "made" / speaker, 2)
        for side in ("noisy", "clean"):
            (place / "pairs-by-speaker" / side).mkdir(parents=True, exist_ok=True)
            (place / "made" / speaker / side).rename(place / "pairs-by-speaker" / side / speaker)
        for i in range(2):
            for path in (place / "my-speech" / speaker / f"{i}.wav", place / "speech" / f"{speaker}-{i}.wav"):
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, tone(1.1, hz=200 + 50 * i), 16000)
    for name in ("my-noise", "noise"):
        (place / name).mkdir()
        soundfile.write(place / name / "hiss.wav", 0.1 * random.standard_normal(40000), 16000)
    make_words(place / "my-words", words=("go", "stop"))
    make_words(place / "FOLDER", words=("go", "stop"))
    (place / "free-spoken-digit-dataset").mkdir()
    for digit in range(10):
        for number, name in enumerate(("george", "jackson", "lucas", "nicolas", "theo", "yweweler")):
            for take in range(2):
                path = place / "free-spoken-digit-dataset" / f"{digit}_{name}_{take}.wav"
                soundfile.write(path, tone(0.5, 8000, 200 + 50 * digit + 10 * number), 8000)
                path = place / "my-folders" / name / f"{digit}{take}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, tone(0.5, 8000, 200 + 50 * digit + 10 * number), 8000)
    make_features(place / "features.npz")
    (place / "my-music").mkdir()
    for genre in range(3):
        noise = np.random.default_rng(genre).standard_normal(16 * 8000) * np.linspace(0.01, 0.1, 16 * 8000)
        soundfile.write(place / "my-music" / f"song_{genre}.wav", noise + tone(16, 8000, 200 * 3**genre), 8000)
