"""Models as safetensors and JSON: the same numbers come out, and nothing strange comes in."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import soundfile
import torch

import speechml
from conftest import speechml as app
from conftest import tone
from speechml.engine.checkpoint import write_checkpoint
from speechml.errors import UserError
from speechml.inference.export import export

INPUTS = {"lab2a_fir": (2, 1, 4000), "genre_mlp": (5, 12), "words_tuned": (2, 1, 16000)}


@pytest.fixture
def exported(trained: dict[str, Path], workplace: Path) -> Path:
    """The folder of an exported FIR filter."""
    export(trained["lab2a_fir"], workplace / "model")
    return workplace / "model"


def rewrite(folder: Path, weights: dict[str, torch.Tensor] | None = None, **about: Any) -> None:
    """Change an exported model as one would who knows the format: the checksum is right again."""
    if weights is not None:
        safetensors.torch.save_file(weights, folder / "weights.safetensors")
        about["weights_sha256"] = hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()
    path = folder / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **about}))


@pytest.mark.parametrize("experiment", list(INPUTS))
def test_an_exported_model_gives_the_same_numbers_bit_for_bit(
    experiment: str, trained: dict[str, Path], workplace: Path
) -> None:
    export(trained[experiment], workplace / "model")
    run, model = speechml.load(trained[experiment]), speechml.load(workplace / "model")
    given = torch.randn(INPUTS[experiment])
    assert torch.equal(run(given), model(given))
    assert not model.training
    assert {path.name for path in (workplace / "model").iterdir()} == {"weights.safetensors", "model.json"}


def test_the_json_says_what_the_model_hears_names_and_has_learned_from(
    trained: dict[str, Path], workplace: Path
) -> None:
    export(trained["genre_mlp"], workplace / "model")
    about = json.loads((workplace / "model" / "model.json").read_text())
    card = json.loads((trained["genre_mlp"] / "card.json").read_text())
    assert (about["format"], about["version"]) == (1, speechml.__version__)
    assert about["classes"] == card["data"]["classes"]
    assert about["data"] == card["data"]["fingerprint"]
    assert about["heard"]
    content = (workplace / "model" / "weights.safetensors").read_bytes()
    assert about["weights_sha256"] == hashlib.sha256(content).hexdigest()


def test_a_checkpoint_file_is_exported_as_its_run_is(trained: dict[str, Path], exported: Path) -> None:
    export(
        trained["lab2a_fir"] / "checkpoints" / "last.ckpt", exported.with_name("other")
    )  # lab 2A is known by its last
    for name in ("weights.safetensors", "model.json"):
        assert (exported / name).read_bytes() == (exported.with_name("other") / name).read_bytes()


def test_other_programs_read_the_weights(trained: dict[str, Path], exported: Path) -> None:
    weights = safetensors.torch.load_file(exported / "weights.safetensors")
    state = torch.load(trained["lab2a_fir"] / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert weights.keys() == state.keys()
    assert all(torch.equal(weights[name], state[name]) for name in state)


def test_a_model_that_is_there_is_replaced_only_when_asked(trained: dict[str, Path], exported: Path) -> None:
    before = (exported / "model.json").read_bytes()
    with pytest.raises(UserError, match=r"model\.json is there already; add --overwrite"):
        export(trained["genre_mlp"], exported)
    assert (exported / "model.json").read_bytes() == before
    export(trained["genre_mlp"], exported, overwrite=True)
    assert type(speechml.load(exported)).__name__ == "FeatureClassifier"


def test_an_export_that_is_cut_off_leaves_no_model(
    trained: dict[str, Path], exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("speechml.inference.export.write_text", full)
    with pytest.raises(UserError, match="No space left on device"):
        export(trained["genre_mlp"], exported, overwrite=True)
    with pytest.raises(UserError, match="is no run"):
        speechml.load(exported)


def test_a_run_is_no_place_for_a_model(trained: dict[str, Path]) -> None:
    with pytest.raises(UserError, match="is a run, and stays as it was made"):
        export(trained["genre_mlp"], trained["lab2a_fir"])


def test_weights_that_are_nan_are_not_exported(trained: dict[str, Path], workplace: Path) -> None:
    path = trained["lab2a_fir"] / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    content["state_dict"]["net.taps"].fill_(float("nan"))
    write_checkpoint(content, workplace / "nan.ckpt")
    with pytest.raises(UserError, match=r"NaN or infinite \(net\.taps\)"):
        export(workplace / "nan.ckpt", workplace / "model")
    assert not (workplace / "model").exists()


@pytest.mark.parametrize("place", [0.0, 0.5, 0.99])
def test_a_flipped_bit_is_found(place: float, exported: Path) -> None:
    path = exported / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"is damaged \(its checksum is not"):
        speechml.load(exported)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda taps: {"net.taps": torch.zeros(*taps.shape[:-1], 9)}, "weight net.taps has shape"),
        (lambda taps: {"net.more": taps.clone()}, "an unknown weight net.more"),
        (lambda _: {"net.taps": None}, "lacks weight net.taps"),
        (lambda taps: {"net.taps": taps.double()}, "is torch.float64, torch.strided on cpu, not torch.float32"),
        (lambda taps: {"net.taps": taps * float("nan")}, "NaN or infinite"),
        (lambda taps: {"net.taps": taps + float("inf")}, "NaN or infinite"),
    ],
)
def test_weights_that_are_not_the_models_are_refused(change, said: str, exported: Path) -> None:
    weights = safetensors.torch.load_file(exported / "weights.safetensors")
    weights |= change(weights["net.taps"])
    rewrite(exported, {name: weight for name, weight in weights.items() if weight is not None})
    with pytest.raises(UserError, match=said):
        speechml.load(exported)


@pytest.mark.parametrize("content", [b"", b"\0" * 8, b"\xff" * 100, b"PK\x03\x04" + bytes(200)])
def test_what_is_no_safetensors_is_refused_whatever_its_checksum(content: bytes, exported: Path) -> None:
    (exported / "weights.safetensors").write_bytes(content)
    rewrite(exported, weights_sha256=hashlib.sha256(content).hexdigest())
    with pytest.raises(UserError, match="cannot be read as safetensors"):
        speechml.load(exported)


@pytest.mark.parametrize(
    "model",
    [
        {"_target_": "os.system", "command": "touch canary"},
        {"_target_": "speechml.tasks.WaveformDenoiser", "sample_rate": 32000, "net": {"_target_": "os.system"}},
        {"_target_": "torch.nn.Linear", "in_features": 1, "out_features": 1},
        {"_target_": "speechml.tasks.WaveformDenoiser", "sample_rate": 32000},
        {"_target_": "speechml.tasks.WaveformDenoiser", "sample_rate": [], "net": 3},
        {"_target_": "speechml.tasks.WaveformDenoiser", "net": {"_target_": "speechml.models.FIR", "taps": -1}},
        {"_target_": ["os.system"]},
        {},
    ],
)
def test_a_json_that_describes_no_model_of_ours_is_refused_and_nothing_is_run(
    model: dict[str, Any], exported: Path
) -> None:
    rewrite(exported, model=model)
    with pytest.raises(UserError):
        speechml.load(exported)
    assert not Path("canary").exists()


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"format": 2}, r"in format 2 \(this is"),
        ({"format": "1"}, "was not written by speechml export"),
        ({"format": True}, "was not written by speechml export"),
        ({"model": None}, "was not written by speechml export"),
        ({"weights_sha256": None}, "is damaged"),
        ({"sample_rate": 8000}, r"contradicts itself \(its sample_rate is 8000"),
        ({"classes": ["a", "b"]}, r"contradicts itself \(its classes"),
    ],
)
def test_a_json_of_another_format_or_content_is_refused(about: dict[str, Any], said: str, exported: Path) -> None:
    rewrite(exported, **about)
    with pytest.raises(UserError, match=said):
        speechml.load(exported)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100000])
def test_a_json_that_cannot_be_read_is_refused(text: bytes, exported: Path) -> None:
    (exported / "model.json").write_bytes(text)
    with pytest.raises(UserError, match=r"model\.json"):
        speechml.load(exported)


def test_a_folder_without_its_weights_is_refused(exported: Path) -> None:
    (exported / "weights.safetensors").unlink()
    with pytest.raises(UserError, match=r"weights\.safetensors cannot be read \(No such file"):
        speechml.load(exported)


def test_the_commands_export_and_use_a_model(
    trained: dict[str, Path], workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write("noisy.wav", tone(), 16000)
    shutil.copytree(trained["lab2a_fir"], "run")
    for words in (["export", "run", "model"], ["denoise", "run", "noisy.wav", "-o", "a"]):
        assert app(monkeypatch, *words) == 0
    shutil.rmtree("run")
    assert app(monkeypatch, "denoise", "model", "noisy.wav", "-o", "b") == 0
    first, second = (soundfile.read(workplace / name / "noisy.wav")[0] for name in ("a", "b"))
    assert np.array_equal(first, second)
    capsys.readouterr()
    assert app(monkeypatch, "export", "run", "model") == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert app(monkeypatch, "classify", "model", "noisy.wav") == 2
    assert "is no classifier" in capsys.readouterr().err
