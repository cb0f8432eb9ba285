"""Pages open offline in a real browser: nothing is asked of anybody, sounds play, a phone is wide enough."""

import base64
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from browser import opened
from conftest import TINY, edit_card, make_words, read_card, run_of, speechml, tone
from made_up import make_run
from speechml.errors import UserError
from speechml.report import media
from speechml.report.drawing import draw_curves
from speechml.report.pages import write_report
from speechml.report.sweep_page import sweep_context

PHONE = 360  # pixels
WIDTH = "document.scrollingElement.scrollWidth"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:  # noqa: ARG001
    """The page of a short run of a denoiser, as the run has written it."""
    from conftest import composed
    from speechml.engine import train as engine

    runs = tmp_path_factory.mktemp("report") / "runs"
    engine.train(composed("train", "experiment=lab2b_mimo_cnn", *TINY, "trainer.max_epochs=2", f"paths.runs={runs}"))
    return next(runs.glob("*/*/report.html"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_of_a_run_opens_offline_on_a_phone_without_a_complaint(page: Path, browser: Any, scheme: str) -> None:
    assert page.stat().st_size < 10_000_000
    with opened(browser, page, PHONE, 800, color_scheme=scheme, is_mobile=True) as seen:
        assert seen.page.evaluate(WIDTH) <= PHONE
        headings = seen.page.locator("h2").all_inner_texts()
        assert headings == ["Scores", "Listen", "Recordings", "Training", "Figures", "How it was made"]
        card = json.loads((page.parent / "card.json").read_text())
        assert f"{card['scores']['test/snr_db']:.2f}" in seen.page.locator("table").first.inner_text()
        broken = "[...document.images].filter(image => !image.complete || !image.naturalWidth).length"
        assert seen.page.evaluate(broken) == 0
        assert (seen.errors, seen.elsewhere) == ([], [])


def test_versions_of_a_recording_play_and_are_changed_at_one_position(page: Path, browser: Any) -> None:
    playing = "[...document.querySelectorAll('.player')][0].querySelectorAll('audio')"
    with opened(browser, page, bypass_csp=True) as seen:  # or what waits here could not look into the page
        player = seen.page.locator(".player").first
        seen.page.wait_for_function(f"[...{playing}].every(sound => sound.duration === 1)")
        seen.page.evaluate(f"[...{playing}].forEach(sound => {{ sound.playbackRate = 0.1 }})")  # a busy machine is slow
        player.locator("[data-play]").click()
        seen.page.wait_for_function(f"[...{playing}].some(sound => sound.currentTime > 0.1)")
        player.get_by_text("denoised", exact=True).click()
        assert player.locator("[data-version=denoised]").is_visible()
        assert not player.locator("[data-version=noisy]").is_visible()
        at = "[...{}].find(sound => sound.dataset.of === '{}').currentTime"
        noisy, denoised = (seen.page.evaluate(at.format(playing, version)) for version in ("noisy", "denoised"))
        assert denoised > noisy - 0.001 > 0.1  # it went on where the other was left
        seen.page.evaluate(f"[...{playing}].forEach(sound => {{ sound.playbackRate = 1 }})")
        seen.page.wait_for_function(f"[...{playing}].every(sound => sound.paused)")  # at the end
        player.locator(".stage").click(position={"x": player.locator(".stage").bounding_box()["width"] / 2, "y": 9})
        assert player.locator(".clock").inner_text().startswith("0.5 s")
        assert seen.errors == []


@pytest.mark.slow
def test_a_cell_of_the_confusions_lists_its_clips_and_plays_them(
    workplace: Path, train: Callable[..., Path], browser: Any
) -> None:
    words = make_words(workplace / "words", speakers=40)
    keys = ("trainer.max_steps=1", "data.batch_size=8", "callbacks.figures=null")
    run = train("experiment=words_tuned", f"data.root={words}", *keys)
    with np.load(run / "predictions.npz") as file:
        label, named, classes = file["label"], file["logits"].argmax(1), file["classes"].tolist()
        was = int(label[label != named][0])
        other = int(named[(label == was) & (label != named)][0])
        behind = file["name"][(label == was) & (named == other)].tolist()
    (run / "audio").mkdir(exist_ok=True)
    soundfile.write(run / "audio" / "mistake.wav", tone(), 16000)
    index = [{"file": "mistake.wav", "name": behind[0], "version": "clip"}]
    (run / "audio" / "index.json").write_text(json.dumps(index))
    with opened(browser, write_report(run), PHONE) as seen:
        seen.page.locator(f"button[data-cell='{was},{other}']").click()
        told = seen.page.locator(".cell-items").inner_text()
        assert re.search(rf"{classes[was]} predicted as {classes[other]}: {len(behind)} clips?", told)
        assert all(name in told for name in behind)
        seen.page.get_by_label(f"play {behind[0]}").click()
        assert seen.page.evaluate(WIDTH) <= PHONE
        assert seen.errors == []


def test_the_page_of_a_sweep_sorts_plots_and_compares(workplace: Path, browser: Any) -> None:
    random = np.random.default_rng(0)
    snr = {(lr, seed): random.normal(10 * lr + seed, 1, 30) for lr in (0.1, 0.2) for seed in (0, 1)}
    runs = {key: make_run(workplace / "runs", seed=key[1], snr=values, lr=key[0]) for key, values in snr.items()}
    strange = runs[0.1, 0] = runs[0.1, 0].rename(runs[0.1, 0].with_name("a#b%41 javascript:x"))
    (strange / "report.html").write_text("<title>here</title>")
    with opened(browser, write_report(workplace / "runs" / "made_up"), PHONE) as seen:
        ids = lambda: [row.split("\t")[0] for row in seen.page.locator("table.sortable tbody tr").all_inner_texts()]  # noqa: E731
        order = [runs[key].name for key in sorted(snr, key=lambda key: snr[key].mean())]
        head = seen.page.locator("table.sortable th button", has_text="test/snr_db")
        head.click()
        assert ids() == order
        head.click()
        assert ids() == order[::-1]
        assert seen.page.locator("#scatter circle").count() == 4
        seen.page.locator("#x-axis").select_option("seed")
        seen.page.locator("#y-axis").select_option("test/mse")
        assert {"seed", "test/mse"} <= set(seen.page.locator("#scatter text").all_text_contents())
        assert "lr=0.2" in seen.page.locator("table").nth(2).inner_text()
        assert seen.page.locator(".legend li").all_inner_texts() == ["lr=0.1", "lr=0.2"]
        assert seen.page.evaluate(WIDTH) <= PHONE
        assert (seen.errors, seen.elsewhere) == ([], [])
        seen.page.locator("table a").first.click()
        seen.page.wait_for_load_state()
        assert seen.page.title() == "here"
    assert {path.name for path in (workplace / "runs" / "made_up").iterdir()} == {run.name for run in runs.values()}


def test_only_runs_that_are_done_are_plotted(workplace: Path) -> None:
    states = ("done", "stopped")
    runs = [make_run(workplace / "runs", seed=seed, snr=np.ones(3), state=state) for seed, state in enumerate(states)]
    page = workplace / "report.html"
    context = sweep_context(workplace / "runs", page)
    assert [(cells[1], colour) for _, colour, cells in context["rows"]] == [("done", 0), ("stopped", "")]
    shutil.rmtree(runs[0])
    assert "Scores against keys" not in write_report(workplace / "runs", page).read_text()


def test_names_from_a_stranger_stay_text(runs: Path, browser: Any) -> None:
    run = run_of(runs)
    evil = "</script><script>document.title='taken'</script><img src=http://example.org/x onerror=alert(1)>"
    edit_card(run, overrides=[evil], command=evil, published={"source": evil, "scores": {}})
    index = [{"file": file.path.name, "name": evil, "version": file.version} for file in media.list_audio(run)]
    index.append({"file": "../../card.json", "name": evil, "version": "clean"})
    (run / "audio" / "index.json").write_text(json.dumps(index))
    (run / "metrics.csv").write_text(f'epoch,train/loss,"val/{evil}"\n0,1,2\n1,2,x\n')
    with opened(browser, write_report(run)) as seen:
        assert seen.page.title() == f"lab2a_fir {run.name}"
        assert seen.page.locator("h1 + p").inner_text() == evil
        assert (seen.errors, seen.elsewhere) == ([], [])


def test_sounds_are_kept_without_loss_and_left_beside_the_page_where_room_ends(
    runs: Path, workplace: Path, monkeypatch
) -> None:
    wave = (tone() * 32767).astype(np.int16)
    soundfile.write(workplace / "x.wav", wave, 16000)
    text = media.flac(*media.read_mono(workplace / "x.wav")).partition("base64,")[2]
    assert np.array_equal(soundfile.read(io.BytesIO(base64.b64decode(text)), dtype="int16")[0], wave)
    run = run_of(runs)
    whole = media.embed_media(run)
    size = sum(len(text) for recording in whole.recordings for sound in recording.sounds for text in sound)
    wavs = sum(file.path.stat().st_size for file in media.list_audio(run))
    assert size < wavs * 4 // 3  # FLAC takes less than the files, base64 more
    monkeypatch.setattr(media, "BUDGET", size)
    assert media.embed_media(run) == whole
    monkeypatch.setattr(media, "BUDGET", size - 1)
    assert len(media.embed_media(run).omitted) == 1
    monkeypatch.setattr(media, "BUDGET", 1000)
    page = write_report(run).read_text()
    assert "<audio" not in page
    assert "No room in this page" in page


def test_what_has_no_page_is_one_sentence(runs: Path, workplace: Path, monkeypatch, capsys) -> None:
    run = run_of(runs)
    (workplace / "empty").mkdir()
    for place, told in (
        (workplace / "nowhere", "no folder"),
        (workplace / "empty", "no run in"),
        (run / "card.json", "no folder"),
    ):
        assert speechml(monkeypatch, "report", str(place)) == 2
        assert told in capsys.readouterr().err
    assert speechml(monkeypatch, "report", str(run), "-o", str(workplace / "empty")) == 2
    assert "is a folder" in capsys.readouterr().err
    edit_card(run, state="stopped")
    assert speechml(monkeypatch, "report", str(run)) == 2
    assert "not done but stopped" in capsys.readouterr().err
    edit_card(run, state="done", data=None)
    assert speechml(monkeypatch, "report", str(run)) == 2
    assert re.fullmatch(r"error: .*card\.json is damaged .*\n", capsys.readouterr().err)


def test_a_page_that_cannot_be_made_is_a_sentence_after_a_run_that_is_done(
    train: Callable[..., Path], monkeypatch, capsys
) -> None:
    monkeypatch.setattr("speechml.report.pages.render", lambda *_: 1 / 0)
    less = ("callbacks.figures=null", "callbacks.listening=null")
    run = train("experiment=lab2a_fir", *TINY, "model.net.taps=8", "trainer.max_epochs=1", *less)
    assert "Report: not written (ZeroDivisionError" in capsys.readouterr().out
    assert read_card(run)["state"] == "done"


def test_values_that_are_nan_or_infinite_are_left_out_of_curves() -> None:
    nan, inf = float("nan"), float("inf")
    figure = draw_curves({"a": [(1, 0.5), (2, nan), (3, inf), (4, 0.2)], "b": [(1, -inf)]}, "loss")
    assert [line.get_xydata().tolist() for line in figure.axes[0].lines] == [[[1, 0.5], [4, 0.2]]]
    assert draw_curves({"b": [(1, nan), (2, -inf)]}, "loss") is None


def test_what_is_damaged_beside_the_card_is_left_out_of_the_page(runs: Path) -> None:
    run = run_of(runs)
    (run / "metrics.csv").write_bytes(b"epoch,val/loss\n0,1e308\n1,-1e308\n2,\xff\n")
    (run / "audio" / "index.json").write_text("[" * 100_000)
    next((run / "audio").glob("*.wav")).write_bytes(b"RIFF....")
    (run / "report.html").unlink(missing_ok=True)
    assert "Scores" in write_report(run).read_text()
    (run / "predictions.npz").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"predictions\.npz is damaged"):
        write_report(run)
