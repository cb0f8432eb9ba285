"""Checkpoints are whole or refused, hold no code, and those of the first formats are read for good."""

import hashlib
import io
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import speechml
from speechml.engine.checkpoint import read_checkpoint, write_checkpoint
from speechml.engine.restore import find_latest
from speechml.engine.trained import load_task
from speechml.errors import UserError
from speechml.storage.checkpoint_checksum import is_whole, seal_copy

FIXTURES = Path(__file__).parents[1] / "fixtures"


def weights_of(path: Path) -> dict[str, Any]:
    """What torch alone reads of a fixture."""
    return dict(torch.load(path, weights_only=True)["state_dict"])


@pytest.mark.parametrize("form", ["format1", "format2"])
def test_a_filter_of_the_first_formats_is_its_own_impulse_response(form: str) -> None:
    taps = weights_of(FIXTURES / form / "fir.ckpt")["net.taps"].flatten().tolist()
    impulse = torch.zeros(1, 1, 40)
    impulse[0, 0, 20] = 0.5
    response = speechml.load(FIXTURES / form / "fir.ckpt")(impulse)[0, 0]
    found = sorted(v for v in (2 * response).tolist() if abs(v) > 1e-9)
    assert np.allclose(found, sorted(t for t in taps if abs(t) > 1e-9), atol=1e-6)


@pytest.mark.parametrize("form", ["format1", "format2"])
def test_a_perceptron_of_the_first_formats_computes_what_its_weights_say(form: str) -> None:
    path = FIXTURES / form / "mlp.ckpt"
    model, record = load_task(path)
    assert record["config"]["model"]["classes"] == ["metal", "EDM", "classical"]
    state = {name: value.double().numpy() for name, value in weights_of(path).items()}
    *hidden, last = [
        name.removesuffix(".weight") for name in state if name.startswith("net.") and name.endswith(".weight")
    ]
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((5, 12))).float()
    h = x.double().numpy()
    for layer in hidden:
        h = np.tanh(h @ state[f"{layer}.weight"].T + state[f"{layer}.bias"])
    with torch.no_grad():
        expected = h @ state[f"{last}.weight"].T + state[f"{last}.bias"]
        np.testing.assert_allclose(model.net(x).numpy(), expected, atol=1e-4)


@pytest.mark.slow
def test_a_model_is_rebuilt_from_its_checkpoint_alone_in_a_fresh_process(tmp_path: Path) -> None:
    (tmp_path / "alone.ckpt").write_bytes((FIXTURES / "format2" / "fir.ckpt").read_bytes())
    code = "import speechml, torch; print(speechml.load('alone.ckpt')(torch.ones(1, 1, 100)).shape)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "[1, 1, 100]" in done.stdout, done.stderr


@settings(max_examples=60, deadline=None)
@given(place=st.integers(min_value=0), bit=st.integers(0, 7))
def test_one_flipped_bit_anywhere_is_refused(place: int, bit: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    content = bytearray((FIXTURES / "format2" / "fir.ckpt").read_bytes())
    content[place % len(content)] ^= 1 << bit
    path = tmp_path_factory.getbasetemp() / "flipped.ckpt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"flipped\.ckpt"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "damage",
    [
        {"optimizer_states": []}, {"lr_schedulers": []}, {"global_step": None}, {"loops": 3}, {"loops": {}}, {"callbacks": []},
        {"resume": {}}, {"machine": [1]}, {"logs": 3}, {"logs": {"events": -1}}, {"logs": {"events": "9"}}, {"ranks": {}},
        {"metrics": {}}, {"training_s": "9"}, {"should_stop": None}, {"finished": "no"},
    ],
    ids=str,
)  # fmt: skip
def test_a_checkpoint_that_is_whole_but_wrong_is_told_and_the_one_before_is_taken(
    damage: dict[str, object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = FIXTURES / "runs" / "runs" / "genre_mlp" / "29efa54018"
    content = read_checkpoint(run / "checkpoints" / "previous.ckpt")
    write_checkpoint(content, tmp_path / "checkpoints" / "previous.ckpt")
    content["speechml"]["config"]["scheduler"] = {"_target_": "torch.optim.lr_scheduler.OneCycleLR"}
    content["lr_schedulers"] = [{"last_epoch": 3}]
    content["resume"] |= {"finished": False, "should_stop": False}
    whole = tmp_path / "whole"
    write_checkpoint(content, whole / "checkpoints" / "last.ckpt")
    assert find_latest(whole)
    assert capsys.readouterr().err == ""
    for name, value in damage.items():
        (content if name in content else content["resume"])[name] = value
    write_checkpoint(content, tmp_path / "checkpoints" / "newest.ckpt")
    (tmp_path / "checkpoints" / "newest.ckpt").rename(tmp_path / "checkpoints" / "last.ckpt")
    latest = find_latest(tmp_path)
    assert latest
    assert "resume" in latest[1]
    assert "last.ckpt is whole, but not what a run can go on from" in capsys.readouterr().err


@pytest.mark.parametrize("bit", range(8))
@pytest.mark.parametrize("place", range(20))
def test_a_resealed_file_whose_frame_is_damaged_is_refused_or_what_it_was(place: int, bit: int, tmp_path: Path) -> None:
    """Of the record that says where the directory of a large archive is: its reader looks at it before all else."""
    content = bytearray((FIXTURES / "format2" / "fir.ckpt").read_bytes())
    locator = content.rindex(b"PK\x06\x07")
    content[locator + place] ^= 1 << bit
    content[-64:] = hashlib.sha256(content[:-64]).hexdigest().encode()
    (tmp_path / "best.ckpt").write_bytes(content)
    wanted, refusal = read_checkpoint(FIXTURES / "format2" / "fir.ckpt")["state_dict"], ""
    found = wanted
    try:
        found = read_checkpoint(tmp_path / "best.ckpt")["state_dict"]
    except UserError as error:
        refusal = str(error)
    assert not refusal or str(tmp_path / "best.ckpt") in refusal
    assert all(torch.equal(found[name], weight) for name, weight in wanted.items())


def test_a_seal_is_a_comment_to_readers_of_zip_archives() -> None:
    buffer = io.BytesIO()
    torch.save({"x": torch.arange(3)}, buffer)
    whole = seal_copy(buffer.getvalue())
    assert is_whole(whole)
    assert not is_whole(buffer.getvalue())
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        assert archive.testzip() is None
        assert archive.comment.startswith(b"speechml sha256 ")
    assert torch.load(io.BytesIO(whole), weights_only=True)["x"].tolist() == [0, 1, 2]


def test_a_newer_format_is_refused_by_the_version_that_wrote_it(tmp_path: Path) -> None:
    content = read_checkpoint(FIXTURES / "format2" / "fir.ckpt")
    content["speechml"] |= {"format": 3, "version": "7.1"}
    write_checkpoint(content, tmp_path / "new.ckpt")
    with pytest.raises(
        UserError, match=r"written by speechml 7\.1 in format 3; this is .*, which reads formats 1 to 2"
    ):
        speechml.load(tmp_path / "new.ckpt")


def test_parts_that_would_grow_when_they_are_read_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.ckpt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 50_000_000)
    assert (tmp_path / "bomb.ckpt").stat().st_size < 100_000
    with pytest.raises(UserError, match="compressed or larger than the file"):
        speechml.load(tmp_path / "bomb.ckpt")
