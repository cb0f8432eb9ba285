"""What a machine may lack: a name of the user, a home, an encoding, a reader, a cluster that says who is who."""

import getpass
import os
import pwd
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import TINY, composed
from speechml.cli import hydra_app
from speechml.config.compose import resolve_config
from speechml.config.train_config import check_config, make_paths_absolute
from speechml.engine.distributed import rank_info
from speechml.errors import UserError
from speechml.process import adapt_to_environment, user_name
from speechml.storage.files import expand_home

SHOW = """
import sys
from pathlib import Path
from speechml.process import adapt_to_environment
adapt_to_environment()
Path("out.txt").write_text(Path("in.txt").read_text() + sys.argv[1])
print("ü", sys.argv[1])
"""


@pytest.mark.parametrize(
    ("environment", "printed"),
    [
        ({"LC_ALL": "C", "PYTHONUTF8": "0"}, "\\xfc M\\xfcller"),
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}, "\\xfc M\\xfcller"),
        ({"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONIOENCODING": "utf-8"}, "ü Müller"),
        ({"LC_ALL": "C.UTF-8"}, "ü Müller"),
        ({"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "ascii"}, "\\xfc M\\xfcller"),
    ],
)
def test_files_and_names_are_utf8_in_every_locale(environment: dict[str, str], printed: str, workplace: Path) -> None:
    (workplace / "in.txt").write_text("größer☃ ", encoding="utf-8")
    (workplace / "show.py").write_text(SHOW, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "show.py", "Müller"], capture_output=True, env={"PATH": os.environ["PATH"], **environment}
    )
    assert done.returncode == 0, done.stderr
    assert (workplace / "out.txt").read_text(encoding="utf-8") == "größer☃ Müller"
    assert done.stdout.decode().strip() == printed


def no_such_user(*_: object) -> None:
    raise KeyError("getpwuid(): uid not found: 54321")


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process whose user has a number only, as in containers, and no home."""
    for name in ("HOME", "LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    for name in ("getpwuid", "getpwnam"):
        monkeypatch.setattr(pwd, name, no_such_user)
    monkeypatch.setattr(getpass, "getuser", no_such_user)


@pytest.mark.usefixtures("nobody")
def test_a_user_without_a_name_is_a_number_and_needs_no_home_but_for_the_cache(workplace: Path) -> None:
    assert user_name() == str(os.getuid())
    config = check_config(resolve_config(composed("train", "data=wav_pairs", "data.root=mine", "paths.cache='~/x'")))
    assert make_paths_absolute(config)["data"]["root"] == str(workplace / "mine")
    with pytest.raises(
        UserError, match=r"~/x is in a home folder, and there is none of that name; give the whole path"
    ):
        expand_home("~/x")
    with pytest.raises(UserError, match="~nobody_here/x is in a home folder"):
        expand_home("~nobody_here/x")


@pytest.mark.parametrize("name", ["SPEECHML_RUNS", "SPEECHML_CACHE", "SPEECHML_CONF"])
def test_a_variable_may_begin_with_the_home(name: str, monkeypatch: pytest.MonkeyPatch, workplace: Path) -> None:
    monkeypatch.setenv("HOME", str(workplace))
    monkeypatch.setenv(name, "~/x")
    adapt_to_environment()
    assert os.environ[name] == str(workplace / "x")
    if name != "SPEECHML_CONF":
        assert composed("train", *TINY)["paths"][name.removeprefix("SPEECHML_").lower()] == str(workplace / "x")


@pytest.mark.parametrize(
    "environment",
    [
        {"TORCHELASTIC_RUN_ID": "x"},
        {"TORCHELASTIC_RUN_ID": "x", "RANK": "a", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "GROUP_RANK": "0"},
        {"SLURM_STEP_NUM_TASKS": "two"},
        {"SLURM_STEP_NUM_TASKS": "2"},
        {"SLURM_STEP_NUM_TASKS": "2", "SLURM_JOB_ID": "7", "MASTER_PORT": "none"},
    ],
)
def test_a_cluster_that_does_not_say_who_is_who_is_one_sentence(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith(("SLURM", "MASTER", "TORCHELASTIC"))]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=r"the environment does not say which .* processes this one is \("):
        rank_info()


def test_a_reader_that_goes_is_no_traceback_and_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone() -> None:
        raise BrokenPipeError

    closed: list[int] = []
    monkeypatch.setattr(hydra_app.os, "dup2", lambda _, number: closed.append(number))
    monkeypatch.setattr(sys, "argv", ["speechml-train"])
    with pytest.raises(SystemExit) as end:
        hydra_app.run_app(gone, "train")
    assert (end.value.code, closed) == (128 + signal.SIGPIPE, [1, 2])


@pytest.mark.parametrize(("own", "wanted"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")])
def test_threads_that_wait_sleep_unless_the_user_says_otherwise(own: dict[str, str], wanted: str) -> None:
    rest = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    program = "import os, speechml.train; print(os.environ['OMP_WAIT_POLICY'])"
    done = subprocess.run([sys.executable, "-c", program], env=rest | own, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == wanted
