"""What a run that is done should have left and has not, as after a kill while its page was written, the same command writes."""

import shutil
from pathlib import Path

import pytest

from conftest import composed
from resuming import run_in
from speechml.errors import UserError
from speechml.runs.card import load_card, save_card
from speechml.sweep.grid import plan_runs
from speechml.sweep.jobs import condition
from speechml.sweep.run_configs import Composer

WORDS = (
    "experiment=lab2a_fir",
    "+data.count=40",
    "trainer.max_epochs=1",
    "threads=1",
    "callbacks.listening.recordings=1",
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:  # noqa: ARG001
    """A run with figures, audio and a page."""
    return run_in(tmp_path_factory.mktemp("whole"), *WORDS)


def copy_of(run: Path, place: Path) -> Path:
    return Path(shutil.copytree(run, place / run.parent.name / run.name))


@pytest.mark.parametrize(
    "patterns", ["report.html", "scores.txt", "predictions.npz", "audio/*", "figures/loss.png metrics.csv config.yaml"]
)
def test_a_done_run_gets_what_it_lacks_with_the_same_bits(patterns: str, whole: Path, tmp_path: Path) -> None:
    run = copy_of(whole, tmp_path)
    removed = {path: path.read_bytes() for pattern in patterns.split() for path in run.glob(pattern)}
    assert removed
    for path in removed:
        path.unlink()
    assert condition(run)[0] == "incomplete"
    assert run_in(tmp_path, *WORDS) == run
    assert condition(run)[0] == "done"
    for path, content in removed.items():
        assert path.is_file(), path
        if path.suffix not in (".yaml", ".html", ".txt"):  # which have the place of the run
            assert path.read_bytes() == content, path
    assert "SNR (dB)" in (run / "scores.txt").read_text()
    assert (run / "report.html").read_text().rstrip().endswith("</html>")
    before, after = load_card(whole), load_card(run)
    assert before
    assert after
    assert (before.scores, before.monitored, before.epochs) == (after.scores, after.monitored, after.epochs)


def test_a_done_run_without_its_checkpoints_stays_done(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copy_of(whole, tmp_path)
    shutil.rmtree(run / "checkpoints")
    (run / "predictions.npz").unlink()
    (run / "scores.txt").unlink()
    run_in(tmp_path, *WORDS)
    card, said = load_card(run), capsys.readouterr().out
    assert card
    assert card.state == "done"
    assert (run / "scores.txt").read_text().splitlines()[:9] == (whole / "scores.txt").read_text().splitlines()[:9]
    assert "lacks checkpoints/best.ckpt" in said
    assert "This run is done already" in said


def test_a_card_of_before_lists_no_figures_and_only_its_page_is_written_anew(whole: Path, tmp_path: Path) -> None:
    run = copy_of(whole, tmp_path)
    card = load_card(run)
    assert card
    assert card.files
    card.files, card.page = {name: card.files[name] for name in ("config.yaml", "predictions.npz")}, None
    save_card(run, card)
    shutil.rmtree(run / "figures")
    (run / "report.html").unlink()
    run_in(tmp_path, *WORDS)
    assert (run / "report.html").is_file()
    assert not (run / "figures").exists()


def test_a_sweep_completes_a_run_that_was_killed_while_its_page_was_written(whole: Path, tmp_path: Path) -> None:
    run = copy_of(whole, tmp_path)
    own = (*WORDS, f"paths.runs={tmp_path}")
    composer = Composer(lambda words: composed("train", *own, *words, keep_hydra=True), lambda _: False)
    assert [planned.action(3) for planned in plan_runs(composer, [])] == [""]
    (run / "report.html").unlink()
    assert [planned.action(3) for planned in plan_runs(composer, [])] == ["complete"]


def test_a_run_that_is_scored_again_on_other_data_is_refused_as_before(whole: Path, tmp_path: Path) -> None:
    run = copy_of(whole, tmp_path)
    card = load_card(run)
    assert card
    card.data.fingerprint = "other"
    save_card(run, card)
    (run / "predictions.npz").unlink()
    with pytest.raises(UserError, match="was made from other recordings"):
        run_in(tmp_path, *WORDS)
