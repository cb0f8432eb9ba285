"""`speechml runs`: every run is listed, damage is found and named, and what is removed is nobody's."""

import csv
import io
import json
import resource
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from conftest import command, edit_card, read_card, run_of, speechml, write_card
from speechml.errors import FolderBusy, UserError
from speechml.inference.verify import verify_run
from speechml.runs.catalogue import format_list, make_entry, remove, runs_below
from speechml.runs.folder import checksums, lock


def test_every_run_is_listed_with_its_score_and_hidden_folders_are_not(runs: Path) -> None:
    shutil.copytree(run_of(runs), runs / ".old" / "lab2a_fir" / "x")
    lines = json.loads(format_list(runs, None, "json"))
    assert [line["experiment"] for line in lines] == ["genre_mlp", "lab2a_fir"]
    assert [line["score_name"] for line in lines] == ["test/acc", "test/snr_db"]
    for line in lines:
        run = runs / line["experiment"] / line["id"]
        assert line["score"] == read_card(run)["scores"][line["score_name"]]
        assert (line["state"], line["epochs"]) == ("done", 2)
    assert list(csv.DictReader(io.StringIO(format_list(runs, None, "csv"))))[1]["score_name"] == "test/snr_db"
    text = format_list(runs, None, "table")
    assert "test/snr_db" in text
    assert "model.net.taps" not in text.splitlines()[0]


def test_a_run_that_nobody_trains_any_more_is_cut_off(runs: Path) -> None:
    run = run_of(runs)
    edit_card(run, state="running")
    assert make_entry(run).state == "cut off"
    with lock(run):
        assert make_entry(run).state == "running"
        assert format_list(runs, "running", "csv").count("\n") == 2
    assert format_list(runs, "running", "table") == f"no run that is running in {runs}\n"


def test_a_damaged_card_does_not_stop_the_list(runs: Path) -> None:
    run = run_of(runs)
    edit_card(run, scores=3)
    lines = json.loads(format_list(runs, None, "json"))
    assert [(line["experiment"], line["state"]) for line in lines] == [("genre_mlp", "done"), ("lab2a_fir", "damaged")]
    assert lines[1]["id"] == run.name
    assert "damaged" in format_list(runs, None, "table")
    assert verify_run(run).problems


def test_a_thousand_runs_are_listed_in_two_seconds_without_torch(runs: Path, workplace: Path) -> None:
    card = (run_of(runs) / "card.json").read_bytes()
    for i in range(1000):
        run = workplace / "many" / f"experiment{i % 7}" / f"{i:010x}"
        (run / "figures").mkdir(parents=True)
        (run / "card.json").write_bytes(card)
    program = "import sys; from speechml.cli.main import app; sys.argv = ['speechml', 'runs', 'list', 'many']; app()"
    heavy = (
        "import atexit, sys; atexit.register(lambda: print({'torch', 'numpy'} & set(sys.modules), file=sys.stderr)); "
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", heavy + program], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)  # of the processor, whatever else the machine does
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2
    listed, *below = done.stdout.split("\n\n")
    assert listed.count("\n") == 1001  # a header, a rule, and a line for each
    assert [text.count("\n") for text in below] == [0, 1]  # the words that all have, and how many have warnings
    assert done.stderr.strip() == "set()"


def test_what_cannot_be_listed_is_refused_in_a_sentence(runs: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    Path("empty").mkdir()
    for words, said in (
        (["list", "nowhere"], "there is no folder nowhere; speechml-train makes runs/"),
        (["list", str(runs), "--state", "doen"], "--state is doen; it can be done"),
        (["list", str(runs), "--format", "xml"], "--format is xml; it can be table"),
        (["show", "nowhere"], "nowhere is no run"),
        (["show", str(runs)], "is no run (it has no card.json)"),
        (["verify", "nowhere"], "there is no folder nowhere; speechml-train makes runs/"),
        (["verify", "empty"], "empty holds no run"),
        (["remove", str(runs), "--yes"], "is no run"),
    ):
        assert speechml(monkeypatch, "runs", *words) == 2, words
        assert said in capsys.readouterr().err


def test_show_tells_the_scores_the_files_and_what_to_do_next(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    run = run_of(runs)
    assert speechml(monkeypatch, "runs", "show", str(run)) == 0
    said = capsys.readouterr().out
    for part in ("SNR (dB)", "checkpoints/last.ckpt", "Data: SpokenPairs", f"Next: speechml denoise {run}"):
        assert part in said
    edit_card(run, state="stopped", scores={}, overrides=["experiment=lab2a_fir", "model.net.taps=[1, 2]", "redo=true"])
    assert speechml(monkeypatch, "runs", "show", str(run)) == 0
    said = capsys.readouterr().out
    assert "Next: speechml-train experiment=lab2a_fir 'model.net.taps=[1, 2]'    goes on with it" in said
    (run / "card.json").write_text('{"state": "done"}')
    assert speechml(monkeypatch, "runs", "show", str(run)) == 2
    assert "is damaged (card.id is missing)" in capsys.readouterr().err


def test_checksums_name_what_a_run_cannot_do_without(runs: Path) -> None:
    run = run_of(runs)
    for name in ("previous.ckpt", ".last.ckpt.1.part"):
        (run / "checkpoints" / name).touch()
    names = [
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "config.yaml",
        "metrics.csv",
        "predictions.npz",
        "scores.txt",
    ]
    derived = [str(path.relative_to(run)) for path in (run / "audio").iterdir()]
    assert derived
    assert sorted(checksums(run)) == sorted([*names, *derived])


def test_remove_deletes_a_run_wholly(runs: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    run, other = run_of(runs), run_of(runs, "genre_mlp")
    (other / "card.json").write_text("damaged")  # can still be removed
    assert speechml(monkeypatch, "runs", "remove", str(run), f"{run}/", str(other), "--yes") == 0
    assert "2 runs removed" in capsys.readouterr().out
    assert [path for path in runs.rglob("*") if path.is_file()] == []
    assert not run.exists()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_remove_asks_and_takes_no_for_an_answer(runs: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    run = run_of(runs)
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    assert speechml(monkeypatch, "runs", "remove", str(run)) == 1
    assert str(run) in capsys.readouterr().out
    assert run.exists()
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert speechml(monkeypatch, "runs", "remove", str(run)) == 0
    assert not run.exists()


def test_remove_without_a_terminal_wants_yes(runs: Path) -> None:
    done = command("speechml", "runs", "remove", str(run_of(runs)), stdin=subprocess.DEVNULL)
    assert done.returncode == 2
    assert done.stderr == "error: there is no terminal to ask on, so nothing was removed; add --yes\n"
    assert run_of(runs).exists()


def test_a_run_that_another_process_holds_is_not_removed_nor_those_beside_it(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    with lock(run_of(runs)):
        words = ("runs", "remove", str(run_of(runs, "genre_mlp")), str(run_of(runs)), "--yes")
        assert speechml(monkeypatch, *words) == 2
        assert "is held by process" in capsys.readouterr().err
        with pytest.raises(UserError, match="is being trained by"):
            remove(run_of(runs))
    assert len(list(runs_below(runs))) == 2
    assert all(verify_run(run).problems == [] for run in runs_below(runs))


def test_remove_refuses_links_and_folders_with_other_runs(runs: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    (runs / "link").symlink_to(run_of(runs))
    assert speechml(monkeypatch, "runs", "remove", str(runs / "link"), "--yes") == 2
    assert "is a link" in capsys.readouterr().err
    shutil.copy(run_of(runs) / "card.json", runs / "card.json")
    assert speechml(monkeypatch, "runs", "remove", str(runs), "--yes") == 2
    assert "holds other runs" in capsys.readouterr().err
    assert len(list((runs / "lab2a_fir").iterdir())) == 1


def test_launches_and_removals_at_once_never_meet_in_one_folder(workplace: Path) -> None:
    run, enough, removed = workplace / "runs" / "x" / "id", threading.Event(), 0
    strange: list[BaseException] = []

    def launch() -> None:
        while not enough.wait(0.001):  # lets go of the folder for a moment, or a busy machine never removes it
            try:
                with lock(run):
                    write_card(run, {"state": "running"})
                    assert json.loads((run / "card.json").read_text())["state"] == "running"
            except FolderBusy:
                pass
            except BaseException as error:
                strange.append(error)

    launching = [threading.Thread(target=launch) for _ in range(2)]
    for thread in launching:
        thread.start()
    end = time.monotonic() + 60
    while removed < 5 and not strange and time.monotonic() < end:
        try:
            remove(run)
            removed += 1
        except UserError as refused:
            strange += [] if isinstance(refused, FolderBusy) or "is no run" in str(refused) else [refused]
    enough.set()
    for thread in launching:
        thread.join()
    assert strange == []
    assert removed == 5
    assert {path.name for path in run.parent.iterdir()} <= {"id"}
