"""Tab completes commands, choices, keys and values, in the shells themselves."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import speechml
from speechml.cli.completion import candidates

BIN = Path(sys.executable).parent


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("speechml comp", ["compare ", "completion "]),
        ("speechml runs ve", ["verify "]),
        ("speechml runs remove --", ["--yes "]),
        ("speechml data prepare experiment=genre", ["experiment=genre_mlp ", "experiment=genre_mlp_tuned "]),
        ("speechml explain optimizer.we", ["optimizer.weight_decay="]),
        (
            "speechml-train optimizer=",
            [f"optimizer={name} " for name in ("adam", "adamw", "lbfgs", "none", "null", "sgd")],
        ),
        ("speechml-train -m optimizer=adam,s", ["optimizer=adam,sgd "]),
        ("speechml-train optim", ["optimizer.", "optimizer="]),
        ("speechml-train optimizer=adam optimizer.be", ["optimizer.betas="]),
        ("speechml-train trainer.prof", ["trainer.profiler="]),  # which no file sets
        ("speechml-train trainer.precision=b", ["trainer.precision=bf16 ", "trainer.precision=bf16-mixed "]),
        ("speechml-train test=", ["test=false ", "test=true "]),
        ("speechml-train callbacks.ear", ["callbacks.early_stopping="]),
        ("speechml-train hydra/swee", ["hydra/sweeper="]),
        ("speechml-train experiment=nothing seed", ["seed="]),  # a line that is wrong is completed all the same
        ("speechml-train nothing.at.all", []),
        ("speechml-train experiment=words_tuned data.root=", []),  # of files a shell knows more
        ("speechml-train --mu", ["--multirun "]),
        ("speechml-evaluate data.sa", []),
        ("speechml-evaluate data=wav_pairs data.sa", ["data.sample_rate="]),
        ("/any/where/speechml-evaluate r", ["run="]),
        ("ls ", []),
    ],
)
def test_a_line_goes_on(line: str, expected: list[str]) -> None:
    assert sorted(set(candidates(line))) == expected


def test_what_is_the_users_own_is_completed(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workplace / "mine" / "experiment").mkdir(parents=True)
    (workplace / "mine" / "experiment" / "special.yaml").write_text("# @package _global_\n")
    monkeypatch.setenv("SPEECHML_CONF", "")
    line = "speechml-train experiment=spec"
    assert list(candidates(f"SPEECHML_CONF=mine {line}")) == ["experiment=special "]


ASK = """eval "$(speechml completion {shell})" 2>/dev/null
COMP_WORDBREAKS={breaks}
COMP_LINE='{line}' COMP_POINT={point}
_speechml {program}
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.mark.parametrize(
    ("shell", "breaks", "expected"),
    [
        ("bash", "'\"=: '", ["sgd "]),  # bash has parted the word at its =
        ("bash", "' '", ["optimizer=sgd "]),
        ("zsh", "", ["optimizer=sgd "]),
    ],
)
def test_a_shell_completes(shell: str, breaks: str, expected: list[str], workplace: Path) -> None:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed here")
    line = "speechml-train optimizer=s   and what is behind the cursor"
    point = len("speechml-train optimizer=s")
    script = ASK.format(shell=shell, breaks=breaks, line=line, point=point, program=BIN / "speechml-train")
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(workplace)}
    norc = "--norc" if shell == "bash" else "-f"
    done = subprocess.run([shell, norc, "-c", script], capture_output=True, text=True, env=environment)
    assert done.stdout.splitlines() == expected, done.stderr


def test_another_shell_is_refused_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert speechml(monkeypatch, "completion", "fish") == 2
    assert capsys.readouterr().err == "error: SHELL is fish; it can be bash, zsh\n"


def test_a_completion_loads_nothing_heavy() -> None:
    heavy = ("torch", "lightning", "numpy", "typer")
    program = (
        "import sys; from speechml.cli import app; sys.argv = ['speechml', '_complete', 'speechml-train trainer.']; app();"
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
