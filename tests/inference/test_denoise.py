"""`speechml denoise`, `speechml-evaluate` and `speechml.load`, on runs made here."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import speechml
from conftest import command, composed, make_pairs, read_card, run_of, tone
from speechml.engine.checkpoint import write_checkpoint
from speechml.engine.evaluate import evaluate
from speechml.errors import UserError
from speechml.inference.denoise import denoise_file, denoise_files
from speechml.storage import audio
from speechml.tasks import WaveformDenoiser


@pytest.fixture
def run(trained: dict[str, Path]) -> Path:
    """A FIR filter at 32 kHz, not to be changed."""
    return trained["lab2a_fir"]


RATES = {".opus": 48000}  # Hz, where a format has not all


@pytest.mark.parametrize("extension", audio.EXTENSIONS)
@pytest.mark.parametrize(("rate", "channels"), [(32000, 1), (44100, 2), (8000, 1)])
def test_length_rate_channels_and_name_are_kept(
    extension: str, rate: int, channels: int, run: Path, workplace: Path
) -> None:
    rate = RATES.get(extension, rate)
    waveform = np.stack([tone(1.3, rate)] * channels, 1)
    audio.save(workplace / "in" / f"name{extension}", waveform, rate)
    given = audio.info(workplace / "in" / f"name{extension}")
    denoise_files(run, [workplace / "in"], workplace / "out")
    result = audio.info(workplace / "out" / f"name{extension}")
    assert (result.rate, result.channels, result.subtype) == (given.rate, given.channels, given.subtype)
    # A lossy codec pads the end; everything else keeps the length to the sample.
    assert abs(result.frames - given.frames) <= (1200 if given.format in ("MP3", "OGG") else 0)
    assert {p.name for p in (workplace / "out").iterdir()} == {f"name{extension}"}


@pytest.mark.parametrize("pieces", [[1000], [1, 2, 3, 994], [100] * 10, [999, 1]])
def test_pieces_join_to_what_the_whole_gives(pieces: list[int], run: Path) -> None:
    task = speechml.load(run)
    waveform = np.random.default_rng(0).standard_normal((1000, 2)).astype(np.float32)
    stream, ends = task.stream(2), np.cumsum(pieces)
    parts = [stream.next(waveform[end - size : end], end == 1000) for size, end in zip(pieces, ends, strict=True)]
    with torch.no_grad():
        whole = task(torch.from_numpy(waveform.T.copy())[:, None])[:, 0].numpy().T
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-6)


def test_a_network_of_one_record_length_denoises_files_of_any_length(workplace: Path) -> None:
    task = WaveformDenoiser({"_target_": "speechml.models.FCNN"}, 32000).eval()
    with torch.no_grad():
        for weights in task.net.parameters():
            weights.mul_(0.05)  # or what nobody has trained is refused as too loud
    audio.save(workplace / "in.wav", tone(12.34, 32000), 32000)
    denoise_file(task, workplace / "in.wav", workplace / "out.wav")
    assert audio.info(workplace / "out.wav").frames == round(12.34 * 32000)
    samples, _ = soundfile.read(workplace / "out.wav", dtype="float32")
    given, _ = soundfile.read(workplace / "in.wav", dtype="float32")
    with torch.no_grad():
        first = task(torch.from_numpy(given[:32000])[None, None])[0, 0].clamp(-1, 1).numpy()
    # 16 bits, and sums of 32,000 products, which round otherwise in a batch of records than in one alone.
    np.testing.assert_allclose(samples[:32000], first, atol=1e-3)


def test_load_needs_the_checkpoint_alone(run: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere.ckpt"
    moved.write_bytes((run / "checkpoints" / "last.ckpt").read_bytes())
    a, b = speechml.load(run), speechml.load(moved)
    noisy = torch.randn(2, 1, 500)
    assert torch.equal(a(noisy), b(noisy))
    assert a.sample_rate == 32000


def test_a_loaded_model_is_ready_to_use(run: Path) -> None:
    model = speechml.load(run)
    assert not model(torch.randn(1, 1, 100)).requires_grad
    with pytest.raises(ValueError, match=r"must be \(batch, 1, time\), not \(100,\)"):
        model(torch.randn(100))


@pytest.mark.parametrize("output", ["file/out", "single.wav"])
def test_an_output_that_can_be_no_folder_is_one_sentence(output: str, run: Path, workplace: Path) -> None:
    audio.save(workplace / "a.wav", tone(), 16000)
    (workplace / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written to|is no folder"):
        denoise_files(run, [workplace / "a.wav"], workplace / output)


def test_nothing_is_overwritten_unless_told(run: Path, workplace: Path) -> None:
    audio.save(workplace / "a.wav", tone(), 16000)
    (workplace / "out").mkdir()
    (workplace / "out" / "a.wav").write_text("precious")
    with pytest.raises(UserError, match=r"a\.wav exists already; add --overwrite"):
        denoise_files(run, [workplace / "a.wav"], workplace / "out")
    assert (workplace / "out" / "a.wav").read_text() == "precious"
    denoise_files(run, [workplace / "a.wav"], workplace / "out", overwrite=True)
    assert audio.info(workplace / "out" / "a.wav").frames == 16000
    with pytest.raises(UserError, match="would replace the recording itself"):
        denoise_files(run, [workplace / "a.wav"], workplace, overwrite=True)


def test_names_that_would_collide_are_refused_before_anything_is_written(run: Path, workplace: Path) -> None:
    for folder in ("one", "two"):
        audio.save(workplace / folder / "a.wav", tone(), 16000)
    with pytest.raises(UserError, match=r"one/a\.wav and .*two/a\.wav would both become"):
        denoise_files(run, [workplace / "one", workplace / "two"], workplace / "out")
    assert not (workplace / "out").exists()


def test_one_bad_file_keeps_no_other_from_being_denoised(
    run: Path, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "abcd":
        audio.save(workplace / "in" / f"{name}.wav", tone(), 16000)
    whole = (workplace / "in" / "b.wav").read_bytes()
    (workplace / "in" / "b.wav").write_bytes(whole[:1000])
    (workplace / "in" / "c.wav").write_text("no sound")
    with pytest.raises(UserError, match="2 of 4 recordings could not be denoised; mend or remove them"):
        denoise_files(run, [workplace / "in"], workplace / "out")
    assert {path.name for path in (workplace / "out").iterdir()} == {"a.wav", "d.wav"}
    said = capsys.readouterr().err.splitlines()
    assert [line.split(" ")[0] for line in said[-2:]] == [str(workplace / "in" / name) for name in ("b.wav", "c.wav")]
    (workplace / "out" / "a.wav").write_text("of the first call")
    (workplace / "in" / "b.wav").write_bytes(whole)
    (workplace / "in" / "c.wav").write_bytes(whole)
    assert {path.name for path in denoise_files(run, [workplace / "in"], workplace / "out")} == {"b.wav", "c.wav"}
    assert "2 of 4 are there already and were kept (--overwrite replaces them)" in capsys.readouterr().out
    assert (workplace / "out" / "a.wav").read_text() == "of the first call"
    assert denoise_files(run, [workplace / "in"], workplace / "out") == []
    assert "4 of 4 are there already" in capsys.readouterr().out
    assert len(denoise_files(run, [workplace / "in"], workplace / "out", overwrite=True)) == 4


def test_a_folder_of_bad_files_leaves_no_folder(run: Path, workplace: Path) -> None:
    (workplace / "in").mkdir()
    for name in "ab":
        (workplace / "in" / f"{name}.wav").write_text("no sound")
    with pytest.raises(UserError, match="2 of 2 recordings could not be denoised"):
        denoise_files(run, [workplace / "in"], workplace / "out")
    assert not (workplace / "out").exists()


@pytest.mark.parametrize(("content", "name", "subtype"), [
    ("mp3", "a.wav", "PCM_16"), ("mp3", "a.flac", "PCM_16"), ("mp3", "a.ogg", "VORBIS"), ("ogg", "a.wav", "PCM_16"),
    ("flac", "a.wav", "PCM_16"), ("wav", "a.mp3", "MPEG_LAYER_III"), ("wav", "a.ogg", "VORBIS"), ("opus", "a.wav", "PCM_16"),
])  # fmt: skip
def test_what_is_under_another_name_is_written_as_the_name_says(
    content: str, name: str, subtype: str, run: Path, workplace: Path
) -> None:
    audio.save(workplace / f"x.{content}", tone(1.0, 48000), 48000)
    (workplace / f"x.{content}").rename(workplace / name)
    denoise_files(run, [workplace / name], workplace / "out")
    result = audio.info(workplace / "out" / name)
    assert (result.subtype, result.rate) == (subtype, 48000)
    assert result.format == audio.FORMATS[Path(name).suffix]
    if subtype == "PCM_16":
        assert result.frames == audio.info(workplace / name).frames


def test_nan_samples_leave_no_file(run: Path, workplace: Path) -> None:
    soundfile.write(workplace / "a.wav", np.full(100, np.nan, np.float32), 16000, subtype="FLOAT")
    with pytest.raises(UserError, match="NaN or infinite"):
        denoise_files(run, [workplace / "a.wav"], workplace / "out")
    assert not list((workplace / "out").iterdir())


def damaged(kind: str, run: Path, workplace: Path) -> tuple[Path, str]:
    last = run / "checkpoints" / "last.ckpt"
    path = workplace / f"{kind}.ckpt"
    if kind == "missing":
        return path, "does not exist"
    if kind == "cut":
        path.write_bytes(last.read_bytes()[:2000])
        return path, "cannot be read|is refused"
    if kind == "text":
        path.write_text("not a checkpoint")
        return path, "cannot be read|is refused"
    content = torch.load(last, weights_only=True)
    if kind == "of_others":
        del content["speechml"]
        words = "was not written by speechml"
    elif kind == "of_another_model":
        content["speechml"]["config"]["model"]["net"]["taps"] = 9
        words = r"checkpoint of another model: weight net\.taps has shape"
    elif kind == "newer":
        content["speechml"]["format"], words = 99, "in format 99"
    else:
        content["speechml"]["config"]["model"]["net"]["_target_"], words = "os.system", "is refused"
    write_checkpoint(content, path)
    return path, words


@pytest.mark.parametrize("kind", ["missing", "cut", "text", "of_others", "of_another_model", "newer", "hostile"])
def test_a_damaged_or_foreign_checkpoint_is_one_sentence(kind: str, run: Path, workplace: Path) -> None:
    path, words = damaged(kind, run, workplace)
    with pytest.raises(UserError, match=words):
        speechml.load(path)


def test_what_is_no_denoiser_is_one_sentence(trained: dict[str, Path], workplace: Path) -> None:
    audio.save(workplace / "in.wav", tone(), 16000)
    with pytest.raises(UserError, match=r"is no denoiser; speechml classify uses it"):
        denoise_files(trained["genre_mlp"], [workplace / "in.wav"], workplace / "out")
    assert not (workplace / "out").exists()


def test_a_folder_that_is_no_run_is_one_sentence(workplace: Path) -> None:
    with pytest.raises(UserError, match="is no run"):
        speechml.load(workplace)


def test_scoring_again_gives_the_scores_of_the_run(runs: Path) -> None:
    run = run_of(runs)
    scores = evaluate(composed("evaluate", f"run={run}"))
    card = read_card(run)
    for name, value in scores.items():
        assert value == pytest.approx(card["scores"][name], rel=1e-9), name
    assert len(list((run / "evaluations").glob("*.json"))) == 1


def test_other_data_are_scored_and_told_apart(runs: Path, workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = (f"run={run_of(runs)}", "data=wav_pairs", f"data.root={make_pairs(workplace / 'other', 8)}")
    evaluate(composed("evaluate", *other, "data.sample_rate=32000"))
    assert "not the test set of the run" in capsys.readouterr().out
    with pytest.raises(UserError, match="works at 32000 Hz and the data are at 8000 Hz"):
        evaluate(composed("evaluate", *other, "data.sample_rate=8000"))


def test_recordings_heard_in_training_are_not_called_a_test(
    train: Callable[..., Path], workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_pairs(workplace / "pairs")
    own = ("experiment=lab2a_fir", "data=wav_pairs", "data.root=pairs", "model.net.taps=4", "trainer.max_epochs=1")
    run = train(*own, "data.sample_rate=16000", "callbacks.figures=null")
    evaluate(composed("evaluate", f"run={run}", "data=wav_pairs", "data.root=pairs", "data.clip_s=0.7"))
    assert "Not a test" not in capsys.readouterr().out
    found = []
    for seed in range(1, 4):
        evaluate(composed("evaluate", f"run={run}", "data=wav_pairs", "data.root=pairs", f"data.split_seed={seed}"))
        found.append("Not a test: " in capsys.readouterr().out)
    assert any(found)
    (workplace / "alone.ckpt").write_bytes((run / "checkpoints" / "last.ckpt").read_bytes())
    with pytest.raises(UserError, match="lies in no run"):
        evaluate(composed("evaluate", "run=alone.ckpt"))


def test_the_command_speaks_in_sentences(workplace: Path) -> None:  # noqa: ARG001
    done = command("speechml-evaluate", "run=nowhere")
    assert done.returncode == 2
    assert done.stderr.startswith("error: nowhere does not exist")
    assert done.stderr.count("\n") == 1
