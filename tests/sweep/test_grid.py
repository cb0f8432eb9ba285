"""Sweeps of every combination: launched again they compute what is missing, and say so in one table."""

import json
import subprocess
from pathlib import Path

import pytest

from conftest import SMALL_CARD, TINY, command, read_card, succeed, write_card
from speechml.runs.folder import lock

FIR = (
    "experiment=lab2a_fir",
    "report=false",
    "trainer.max_epochs=1",
    "callbacks.figures=null",
    "callbacks.listening=null",
    *TINY,
)


def sweep(*words: str) -> subprocess.CompletedProcess[str]:
    return command("speechml-train", "-m", *FIR, *words)


def table(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The lines of the runs in the last table."""
    return [line for line in done.stdout.splitlines() if line.startswith("lab2a_fir ")]


@pytest.mark.slow
def test_a_sweep_skips_what_is_done_and_goes_on_with_what_was_stopped(workplace: Path) -> None:
    first = sweep("seed=0,1")
    assert first.returncode == 0, first.stderr
    assert [line.split()[2] for line in table(first)] == ["done", "done"]
    folders = sorted((workplace / "runs" / "lab2a_fir").iterdir())
    assert len(folders) == 2
    made = {folder: (folder / "card.json").stat().st_mtime_ns for folder in folders}
    card = json.loads((folders[0] / "card.json").read_text())
    (folders[0] / "card.json").write_text(json.dumps({**card, "state": "stopped"}))
    again = sweep("seed=0,1,2")
    assert again.returncode == 0, again.stderr
    assert "3 runs: 1 done already, 1 to train, 1 to go on with" in again.stderr
    assert [line.split()[2] for line in table(again)] == ["done"] * 3
    assert (folders[1] / "card.json").stat().st_mtime_ns == made[folders[1]]
    nothing = sweep("seed=0,1,2")
    assert nothing.returncode == 0
    assert "3 runs: 3 done already" in nothing.stderr
    anew = sweep("seed=1", "redo=True")
    assert anew.returncode == 0, anew.stderr
    assert len(list((workplace / "runs" / ".old" / "lab2a_fir").iterdir())) == 1


def test_a_run_that_fails_is_tried_again_until_it_has_failed_too_often(workplace: Path) -> None:
    words = ("optimizer.lr=1e30,0.1", "optimizer=sgd", "hydra.sweeper.max_retries=1")
    told = []
    for _ in range(3):
        done = sweep(*words)
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
        assert [line.split()[2] for line in table(done)] == ["done", "failed"]  # the best first
        told.append(done.stderr)
    assert "the training diverged" in told[0]
    assert "1 failed, to be tried again" in told[1]
    assert "failed too often" in told[2]
    assert "has failed 2 times; hydra.sweeper.max_retries=2 tries it again" in told[2]
    shown = command("speechml", "sweep", "status")
    assert shown.returncode == 0
    assert "2 runs: 1 done, 1 failed" in shown.stdout or "2 runs: 1 failed, 1 done" in shown.stdout
    assert "speechml-train experiment=lab2a_fir" in shown.stdout
    assert "optimizer.lr=1e+30" in shown.stdout or "optimizer.lr=1e30" in shown.stdout
    failed = next(c for p in workplace.glob("runs/lab2a_fir/*") if (c := read_card(p)) and c["state"] == "failed")
    assert failed["failures"] == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["hydra/launcher=local", "hydra.launcher.n_jobs=0"], "hydra.launcher.n_jobs is 0"),
        (["hydra/launcher=local", "+hydra.launcher.jobs=2"], "there is no key hydra.launcher.jobs"),
        (["+hydra.job.env_set.A=1"], "hydra.job.env_set does not act in a sweep"),
        (["hydra/sweeper=basic", "hydra/launcher=local"], "are launched side by side; leave hydra/launcher out"),
    ],
)
def test_what_cannot_compute_runs_is_refused_before_anything_is_made(
    words: list[str], says: str, workplace: Path
) -> None:
    done = sweep("seed=0,1", *words)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert done.stderr.rstrip().count("\n") <= 1
    assert not list(workplace.glob("runs/lab2a_fir/*"))


def test_a_run_that_somebody_trains_is_left_to_them(workplace: Path) -> None:
    planned = command("speechml", "sweep", "plan", *FIR, "seed=0,1").stdout
    identity = next(line.split()[1] for line in planned.splitlines() if line.endswith("seed=0"))
    folder = workplace / "runs" / "lab2a_fir" / identity
    with lock(folder):
        write_card(folder, SMALL_CARD)
        done = sweep("seed=0,1")
        assert "1 to train, 1 being trained by another process" in done.stderr
    assert done.returncode == 0, done.stderr
    assert len(list((workplace / "runs" / "lab2a_fir").iterdir())) == 2


def test_status_tells_of_unequal_data_damage_and_what_has_not_begun(runs: Path) -> None:
    from conftest import edit_card, run_of
    from speechml.sweep.status import status_report

    one = run_of(runs)
    other = one.with_name("other")
    other.mkdir()
    card = read_card(one)
    (other / "card.json").write_text(json.dumps({**card, "data": {**card["data"], "fingerprint": "changed"}}))
    edit_card(one, state="stopped", stopped="stopped by SIGTERM after step 3")
    torn = one.with_name("torn")
    torn.mkdir()
    (torn / "card.json").write_text("{")
    sweep_folder = runs / ".sweeps" / "lab2a_fir" / "0"
    sweep_folder.mkdir(parents=True)
    later = str(one.with_name("later"))
    named = {"folder": later, "overrides": ["seed=7"], "swept": {"seed": "7"}, "error": "no such data"}
    (sweep_folder / "sweep.json").write_text(json.dumps({"runs": [named]}))
    told = status_report(runs)
    assert "the runs are of unequal recordings" in told
    assert "stopped by SIGTERM after step 3" in told
    assert "torn damaged: " in told
    assert "seed=7: refused before it began: no such data\n  speechml-train seed=7" in told
    assert "\x1b" not in told


@pytest.mark.parametrize(
    "content",
    [
        "[]", '{"runs": [{"folder": 5}]}', '{"runs": [{"folder": "a", "overrides": 5, "swept": {}}]}',
        '{"trials": [{"runs": [5]}]}', "{",
    ],
)  # fmt: skip
def test_a_damaged_record_of_a_sweep_is_one_sentence(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from conftest import speechml

    (tmp_path / "sweep.json").write_text(content)
    for word in ("status", "wait"):
        assert speechml(monkeypatch, "sweep", word, str(tmp_path)) == 2
        assert "cannot be read" in (told := capsys.readouterr().err)
        assert "Traceback" not in told


def test_evaluations_are_swept_as_well(runs: Path) -> None:
    from conftest import run_of

    succeed("speechml-evaluate", "-m", f"run={run_of(runs)}", "seed=0,1")
