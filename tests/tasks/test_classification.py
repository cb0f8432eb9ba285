"""Word classifiers from command to scores: what a run leaves, what it is scored on, what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score

import speechml
from conftest import TINY, add_background, command, composed, make_words, read_card
from speechml.callbacks.word_figures import confident_errors
from speechml.contracts import IndexBatch
from speechml.data import SpeechCommands
from speechml.engine.checkpoint import read_checkpoint
from speechml.errors import UserError
from speechml.report.class_drawing import alluvial_pairs, draw_alluvial
from speechml.storage import audio

QUICK = (
    "experiment=words_tuned",
    "model.net.width=8",
    "trainer.max_epochs=3",
    "data.batch_size=16",
    "trainer.precision=32-true",
)
PLAIN = ("callbacks.figures=null", "report=false")


@pytest.fixture
def words(workplace: Path) -> Path:
    """Three words of thirty speakers, and noise."""
    return add_background(make_words(workplace / "words"))


def test_a_run_learns_and_leaves_scores_figures_predictions_and_its_model(
    train: Callable[..., Path], words: Path
) -> None:
    folder = train(*QUICK, f"data.root={words}", "trainer.max_epochs=25")
    card = read_card(folder)
    scores = card["scores"]
    for name in ("val/acc", "test/acc", "test/macro_f1", "test/loss", "test/recall_high", "train/loss"):
        assert np.isfinite(scores[name])
    assert {p.stem for p in (folder / "figures").iterdir()} >= {
        "confusion", "alluvial", "accuracy", "loss", "sample", "spectrogram", "frame", "mel_bands",
    }  # fmt: skip
    found = np.load(folder / "predictions.npz")
    data = SpeechCommands(
        root=str(words), sample_rate=16000, batch_size=8, split_seed=0, cache=card["data"]["data"] and str(folder / "c")
    )
    assert sorted(found["name"]) == sorted(data.item_names[i] for i in data.splits["test"])
    assert list(found["classes"]) == ["high", "low", "middle"]
    assert [found["classes"][i] for i in found["label"]] == [name.split("/")[0] for name in found["name"]]
    named = found["logits"].argmax(1)
    np.testing.assert_allclose(scores["test/acc"], accuracy_score(found["label"], named))
    np.testing.assert_allclose(scores["test/macro_f1"], f1_score(found["label"], named, average="macro"))
    assert scores["test/acc"] > 0.9
    text = (folder / "scores.txt").read_text()
    assert "95 % interval" in text
    assert card["data"]["test_fingerprint"] in text
    model = speechml.load(folder)
    assert model.classes == ["high", "low", "middle"]
    number = data.item_names.index(str(found["name"][0]))
    with torch.no_grad():
        logits = model(data.load_batch(IndexBatch("test", 0, torch.tensor([number]))).waveform)
    np.testing.assert_allclose(logits[0].numpy(), found["logits"][0], rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_the_clips_of_mistakes_are_those_of_their_items(train: Callable[..., Path], words: Path) -> None:
    folder = train("experiment=words_mel", f"data.root={words}", "optimizer.lr=1e-12", "trainer.max_epochs=1")
    with np.load(folder / "predictions.npz") as found:
        named = {str(n): found["classes"][row.argmax()] for n, row in zip(found["name"], found["logits"], strict=True)}
    wrong = {name: word for name, word in named.items() if word != name.split("/")[0]}
    index = json.loads((folder / "audio" / "index.json").read_text())
    assert len(index) == min(40, len(wrong)) > 0
    for line in index:
        assert line["version"] == "clip"
        assert line["file"].endswith(f"_{line['name'].split('/')[0]}_confused_with_{wrong[line['name']]}.wav")
        np.testing.assert_array_equal(audio.load(folder / "audio" / line["file"]), audio.load(words / line["name"]))


@pytest.mark.slow
def test_the_schedule_follows_the_epochs_and_early_stopping_ends_a_run(train: Callable[..., Path], words: Path) -> None:
    book = ("experiment=words_mel", f"data.root={words}", "data.batch_size=32", "optimizer.lr=1e-12")
    stopping = ("trainer.max_epochs=10", "callbacks.early_stopping.patience=1", *PLAIN)
    assert read_card(train(*book, *stopping))["epochs"] < 4
    stopped = read_card(train(*book, *stopping, "callbacks.early_stopping.after=0.3"))
    assert stopped is not None
    assert 4 <= stopped["epochs"] < 10  # three epochs, while the rate rises, do not count
    folder = train(*QUICK, *PLAIN, f"data.root={words}", "trainer.max_epochs=4")
    state = read_checkpoint(folder / "checkpoints" / "last.ckpt")["lr_schedulers"][0]
    card = read_card(folder)
    assert state["total_steps"] == 4 * -(-card["data"]["recordings"]["train"] // 16)
    assert state["last_epoch"] == state["total_steps"]  # the schedule has ended


def test_the_book_scores_the_last_epoch_and_ours_name_theirs() -> None:
    for experiment in ("words_spectrogram", "words_mel", "words_complex"):
        cfg = composed("train", f"experiment={experiment}", "data.root=x")
        assert (cfg.checkpoint.test_weights, cfg.data.split, cfg.trainer.precision) == ("last", "random", "32-true")
        assert (cfg.optimizer.lr, cfg.data.batch_size, cfg.trainer.max_epochs) == (0.01, 128, 50)
        assert cfg.callbacks.early_stopping.patience == 3


@pytest.mark.slow
def test_a_run_is_scored_again_on_its_own_and_on_other_words(
    train: Callable[..., Path], words: Path, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from speechml.engine.evaluate import evaluate

    folder = train(*QUICK, f"data.root={words}")
    card = read_card(folder)
    again = evaluate(composed("evaluate", f"run={folder}"))
    assert again["test/acc"] == card["scores"]["test/acc"]
    make_words(workplace / "others", words=("high", "low", "middle"), takes=2)
    evaluate(composed("evaluate", f"run={folder}", "data=speech_commands", "data.root=others"))
    said = capsys.readouterr().out
    assert "accuracy" in said
    assert "This is the test set of the run itself." in said
    assert "This is not the test set of the run" in said
    make_words(workplace / "strange", words=("low", "ship"))
    with pytest.raises(UserError, match="clips of 1 of the words wanted"):
        evaluate(composed("evaluate", f"run={folder}", "data=speech_commands", "data.root=strange"))
    make_words(workplace / "fewer", words=("low", "high"))
    few = evaluate(composed("evaluate", f"run={folder}", "data=speech_commands", "data.root=fewer"))
    assert {name for name in few if "recall" in name} == {"test/recall_low", "test/recall_high"}
    with pytest.raises(UserError, match="knows no class ship"):
        evaluate(
            composed("evaluate", f"run={folder}", "data=speech_commands", "data.root=strange", "data.words=[low,ship]")
        )


@pytest.mark.slow
def test_two_processes_score_every_clip_once(train: Callable[..., Path], words: Path) -> None:
    folder = train(
        *QUICK, f"data.root={words}", "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "threads=1"
    )
    found = np.load(folder / "predictions.npz")
    card = read_card(folder)
    assert len(set(found["name"])) == len(found["name"]) == card["data"]["recordings"]["test"]


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        (["experiment=words_tuned", "data=spoken_pairs"], "learns from clips with a word each"),
        (["experiment=lab2a_fir", "data=spoken_words"], "learns from pairs of noisy and clean recordings"),
        (
            ["experiment=words_mel", "data=spoken_words", "model.front_end.kind=complex"],
            "does not take spectrograms of 2 x",
        ),
        (["experiment=words_tuned", "data=spoken_words", "model.augment.noise=3"], "a number from 0 to 1"),
        (["experiment=words_tuned", "data=spoken_words", "model.augment.snr_db=[5,0]"], "snr_db is .*lowest, highest"),
        (["experiment=words_tuned", "data=spoken_words", "model.augment.snr_db=[]"], "snr_db is .*lowest, highest"),
        (["experiment=words_tuned", "data=spoken_words", "model.label_smoothing=2"], "at least 0 and below 1"),
        (["experiment=words_tuned", "data=spoken_words", "+model.augment.pitch=1"], "no key model.augment.pitch"),
        (["experiment=words_tuned", "data=spoken_words", "trainer.precision=bf16-true"], "it can be 32-true"),
        (["experiment=words_tuned", "data=spoken_words", "data.voices=1"], "at least 3"),
        (["experiment=words_tuned"], "data.root"),
        (["experiment=words_tuned", "data.root=nowhere"], "is no folder"),
    ],
)
def test_what_does_not_fit_is_refused_before_a_folder_exists(
    keys: list[str], says: str, train: Callable[..., Path], workplace: Path
) -> None:
    spoken = list(TINY) if "data=spoken_pairs" in keys else []
    if "data=spoken_words" in keys and "data.voices=1" not in keys:
        spoken = ["data.voices=6"]
    with pytest.raises(UserError, match=says):
        train(*keys, *spoken)
    assert not (workplace / "runs").exists()


def test_a_bad_clip_is_one_sentence_and_exit_code_2(words: Path, workplace: Path) -> None:
    (words / "low" / "cccccccc_nohash_0.wav").write_bytes(b"")
    done = command("speechml-train", "experiment=words_tuned", f"data.root={words}")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "cccccccc_nohash_0.wav is empty" in done.stderr
    assert not list(workplace.rglob("card.json"))


def test_a_denoiser_is_not_scored_on_words(train: Callable[..., Path], words: Path) -> None:
    from speechml.engine.evaluate import evaluate

    folder = train(*TINY, "experiment=lab2a_fir", "model.net.taps=8", "trainer.max_epochs=1")
    with pytest.raises(UserError, match="learns from pairs"):
        evaluate(composed("evaluate", f"run={folder}", "data=speech_commands", f"data.root={words}"))


def test_the_surest_mistakes_come_first() -> None:
    logits = torch.tensor([[5.0, 0.0], [0.0, 1.0], [9.0, 0.0], [0.0, 3.0]])
    assert confident_errors(logits, torch.tensor([1, 0, 1, 1])) == [2, 0, 1]


def test_after_the_surest_mistakes_every_confused_pair_is_heard() -> None:
    """Three of 0 for 1, the surest; then one of 2 for 1, and the next of 0 for 1."""
    logits = torch.tensor([[0.0, 9.0, 0.0], [0.0, 8.0, 0.0], [0.0, 7.0, 0.0], [0.0, 6.0, 0.0], [0.0, 9.0, 0.0]])
    labels = torch.tensor([0, 0, 0, 2, 1])
    assert confident_errors(logits, labels, first=1) == [0, 3, 1, 2]
    assert confident_errors(logits, labels, first=1, most=3) == [0, 3, 1]


def test_rare_pairs_are_hidden_in_the_alluvial_plot() -> None:
    counts = np.array([[3000, 2], [4, 994]])
    assert alluvial_pairs(counts) == [(0, 0), (1, 0), (1, 1)]


def test_the_alluvial_plot_has_predictions_on_the_left_as_in_the_book() -> None:
    """Ten clips of `cat`, four of which are called `dog`: `dog` is wide on the left and absent on the right."""
    figure = draw_alluvial(np.array([[6, 4], [0, 0]]), ["cat", "dog"])
    texts = {(text.get_text(), text.get_position()[0] < 0.5) for text in figure.axes[0].texts}
    assert texts == {("cat 6", True), ("dog 4", True), ("cat 10", False)}
    assert "predicted class (left)" in figure.axes[0].get_title()
    starts = np.sort([patch.get_path().vertices[[0, 3], 1] for patch in figure.axes[0].patches], axis=0)
    np.testing.assert_allclose(starts, [[-6.1, -6.0], [0.0, 0.0]], atol=1e-9)
