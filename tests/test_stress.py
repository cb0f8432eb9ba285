"""The stress scripts, on a small scale."""

import multiprocessing
import subprocess
import sys
from pathlib import Path

import pytest

from speechml.errors import FolderBusy
from speechml.storage.files import make_folder
from stress_checkpoints import checkpoints
from stress_headers import damaged_headers, read_in_all_ways
from stress_inputs import inputs, replay
from stress_launch import launch

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_damaged_checkpoints_are_refused() -> None:
    assert checkpoints(42) == 0


@pytest.mark.slow
def test_launches_at_once_train_each_run_once() -> None:
    assert launch(processes=3, configs=2, launches=8) == 0


@pytest.mark.slow
def test_what_was_once_a_finding_is_none() -> None:
    assert replay(Path(__file__).parent / "fixtures" / "inputs.jsonl") == []


@pytest.mark.slow
def test_wrong_inputs_end_in_a_sentence() -> None:
    assert inputs(60, seed=16) == 0


@pytest.mark.slow
def test_a_folder_is_claimed_and_left_by_many_at_once(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        assert pool.map(claim_often, [tmp_path / "run"] * 3) == [{}, {}, {}]


def claim_often(folder: Path) -> dict[str, int]:
    """Come and go as launches do that are refused; what went wrong, and how often."""
    from speechml.runs.folder import lock, remove_if_empty

    wrong: dict[str, int] = {}
    for _ in range(500):
        try:
            make_folder(folder)
            with lock(folder), remove_if_empty(folder):
                pass
        except FolderBusy:
            pass
        except Exception as error:
            wrong[str(error)] = wrong.get(str(error), 0) + 1
    return wrong


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [("faults", "--injections", "24", "--programs", "training,pack,report"), ("powercut", "--relaunches", "6")]
)
def test_failing_calls_and_power_cuts_are_sentences_and_cost_nothing(words: tuple[str, ...]) -> None:
    """In a process of its own: what it forks from has the failing calls in it."""
    done = subprocess.run(
        [sys.executable, "scripts/stress.py", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 findings" in done.stdout or "skipped" in done.stdout


def test_damaged_headers_are_read_or_refused_in_a_sentence(tmp_path: Path) -> None:
    for name, content in damaged_headers(0, 63):
        (tmp_path / name).write_bytes(content)
        assert list(read_in_all_ways(tmp_path / name)) == [], name
