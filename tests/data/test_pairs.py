"""What holds for every denoising data module, and what each refuses."""

import errno
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from conftest import make_pairs, mixed_folders, tone
from speechml.data import LabPairs, MixedPairs, WavPairs
from speechml.data.lab_pairs import conversion, read_pairs
from speechml.data.pairs import PairDataModule
from speechml.errors import UserError


def lab_file(path: Path, pairs: object) -> Path:
    torch.save(pairs, path)
    return path


def lab_pair(samples: int = 8000, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    clean = torch.randn(1, samples, generator=torch.Generator().manual_seed(seed))
    return clean + 0.1, clean


MODULES = ("wav", "lab", "mixed")


def module(kind: str, root: Path, common: dict[str, Any], **extra: Any) -> PairDataModule:
    if kind == "wav":
        return WavPairs(root=str(make_pairs(root / "pairs", 10)), **common, **extra)
    if kind == "lab":
        return LabPairs(root=str(lab_file(root / "lab.pt", [lab_pair(seed=i) for i in range(30)])), **common, **extra)
    return MixedPairs(**mixed_folders(root), **common, **extra)


@pytest.mark.parametrize("kind", MODULES)
def test_every_recording_is_in_one_split_and_comes_once_an_epoch(
    kind: str, tmp_path: Path, common: dict[str, Any]
) -> None:
    data = module(kind, tmp_path, common)
    corpus = data.corpus
    assert sorted(i for split in corpus.splits.values() for i in split) == list(range(len(corpus.names)))
    scored = [(int(i), batch.clean.shape[-1]) for batch in data.batches("test") for i in batch.indices]
    assert sorted(scored) == [(i, corpus.lengths[i]) for i in sorted(data.splits["test"])]
    orders = [torch.cat(data._training_groups(epoch)) for epoch in (0, 1)]
    assert sorted(orders[0].tolist()) == sorted(orders[1].tolist()) == sorted(corpus.clips.tolist())
    assert not torch.equal(*orders)


@pytest.mark.parametrize("kind", MODULES)
def test_runs_that_differ_by_seed_share_a_test_set(kind: str, tmp_path: Path, common: dict[str, Any]) -> None:
    one, two = (module(kind, tmp_path, common, seed=seed) for seed in (0, 1))
    assert one.card().test_fingerprint == two.card().test_fingerprint
    for a, b in zip(one.batches("test"), two.batches("test"), strict=True):
        assert torch.equal(a.noisy, b.noisy)
    other = module(kind, tmp_path, {**common, "split_seed": 1}).card()
    assert other.test_fingerprint != one.card().test_fingerprint


def test_wav_pairs_are_the_files_themselves(tmp_path: Path, common: dict[str, Any]) -> None:
    data = WavPairs(root=str(make_pairs(tmp_path / "pairs")), **common)
    for batch in data.batches("test"):
        name = data.item_names[int(batch.indices[0])]
        for side, waveform in (("noisy", batch.noisy), ("clean", batch.clean)):
            expected, _ = soundfile.read(tmp_path / "pairs" / side / f"{name}.wav", dtype="float32")
            assert torch.equal(waveform[0, 0], torch.from_numpy(expected))


@pytest.mark.parametrize("root", [".", "pairs"])
def test_a_folder_beside_the_splits_may_be_closed_and_the_root_be_where_one_is(
    root: str, tmp_path: Path, common: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in ("train", "test", "extra", "."):
        make_pairs(tmp_path / "pairs" / part)
    (tmp_path / "pairs" / "lost+found").mkdir()
    monkeypatch.chdir(tmp_path / "pairs" if root == "." else tmp_path)
    look = os.stat

    def stat(path: Any, *args: Any, **keys: Any) -> os.stat_result:
        if "lost+found/" in str(path):
            raise PermissionError(errno.EACCES, "Permission denied")
        return look(path, *args, **keys)

    monkeypatch.setattr(os, "stat", stat)
    notes = WavPairs(root=root, **common).card().notes
    assert "noisy/ and clean/ in pairs, extra are not used: splits are called train/, val/ and test/" in notes


def test_changed_files_are_read_again(tmp_path: Path, common: dict[str, Any]) -> None:
    root = make_pairs(tmp_path / "pairs")
    first = WavPairs(root=str(root), **common).card().fingerprint
    soundfile.write(root / "clean" / "item0.wav", tone(1.5, hz=999), 16000)
    assert WavPairs(root=str(root), **common).card().fingerprint != first


def test_folders_train_and_test_are_the_splits(tmp_path: Path, common: dict[str, Any]) -> None:
    for split, count in (("train", 5), ("test", 2)):
        make_pairs(tmp_path / "pairs" / split, count)
    data = WavPairs(root=str(tmp_path / "pairs"), **common)
    card = data.card()
    assert card.protocol == "official"
    assert card.recordings == {"train": 4, "val": 1, "test": 2}
    assert all(data.item_names[i].startswith("test/") for i in data.splits["test"])


def test_another_sample_rate_is_resampled_and_said(tmp_path: Path, common: dict[str, Any]) -> None:
    data = WavPairs(root=str(make_pairs(tmp_path / "pairs", rate=8000)), **common)
    assert data.card().notes == ["12 files at 8000 Hz resampled to 16000 Hz (data.sample_rate sets it)"]
    assert set(data.corpus.lengths) == {24000}


@pytest.mark.parametrize("case", ["missing", "empty", "no_partner", "lengths", "few", "stereo", "nan", "cut", "twice"])
def test_wav_pairs_refuse_what_is_wrong_and_leave_no_cache(case: str, tmp_path: Path, common: dict[str, Any]) -> None:
    root, extra = make_pairs(tmp_path / "pairs"), {}
    broken = root / "noisy" / "item1.wav"
    words = {
        "missing": "is no folder", "empty": "holds no audio files", "no_partner": "item1 is in clean/ but not in noisy/",
        "lengths": "item1 has 8000 noisy and 24000 clean samples", "few": "too few for a", "stereo": "has 2 channels",
        "nan": "NaN or infinite", "cut": "is cut short", "twice": "have one name",
    }[case]  # fmt: skip
    if case == "missing":
        root = tmp_path / "elsewhere"
    elif case == "empty":
        for path in (root / "noisy").iterdir():
            path.unlink()
    elif case == "no_partner":
        broken.unlink()
    elif case == "lengths":
        soundfile.write(broken, tone(0.5), 16000)
    elif case == "few":
        root = make_pairs(tmp_path / "two", 2)
    elif case == "stereo":
        extra = {"stereo": "refuse"}
        soundfile.write(broken, np.stack([tone(1.5)] * 2, 1), 16000)
    elif case == "nan":
        soundfile.write(broken, np.full(24000, np.nan, np.float32), 16000, subtype="FLOAT")
    elif case == "cut":
        broken.write_bytes(broken.read_bytes()[:1000])
    else:
        soundfile.write(root / "noisy" / "item1.flac", tone(1.5), 16000)
    with pytest.raises(UserError, match=words) as refused:
        WavPairs(root=str(root), **common, **extra).card()
    assert "\n" not in str(refused.value)
    if case != "few":
        packs = tmp_path / "cache" / "packs"
        assert not packs.exists() or all(p.name.endswith(".lock") for p in packs.iterdir())


class Trap:
    """Unpickling this runs code: it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str]]:
        return open, (str(self.path), "w")


def test_a_lab_file_that_carries_code_is_refused_and_the_code_not_run(tmp_path: Path, common: dict[str, Any]) -> None:
    file = lab_file(tmp_path / "trap.pt", [Trap(tmp_path / "sprung")])
    with pytest.raises(UserError, match=r"trap\.pt is refused"):
        LabPairs(root=str(file), **common).card()
    assert not (tmp_path / "sprung").exists()


def test_lab_pairs_are_the_tensors_themselves(tmp_path: Path, common: dict[str, Any]) -> None:
    pairs = [lab_pair(seed=i) for i in range(30)]
    data = LabPairs(root=str(lab_file(tmp_path / "lab.pt", pairs)), **common)
    for batch in data.batches("test"):
        for i, noisy, clean in zip(batch.indices, batch.noisy, batch.clean, strict=True):
            assert torch.equal(noisy, pairs[int(i)][0])
            assert torch.equal(clean, pairs[int(i)][1])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"noisy": torch.zeros(3)}, "holds dict, not the labs' list"),
        ([], "not the labs' list"),
        ([torch.zeros(1, 8)], "item 0 is not a pair"),
        ([(torch.zeros(1, 8), "clean")], "item 0 is not a pair"),
        ([lab_pair(), (torch.zeros(1, 8000), torch.zeros(1, 7000))], "pair 1 has 8000 noisy and 7000 clean"),
        ([lab_pair(), lab_pair(4000)], "pair 1 has 4000"),
        ([lab_pair(), (torch.full((1, 8000), torch.nan), torch.zeros(1, 8000))], "pair 1 holds NaN"),
        ([lab_pair()], "too few for a"),
    ],
)
def test_lab_pairs_refuse_what_is_no_list_of_pairs(
    content: object, words: str, tmp_path: Path, common: dict[str, Any]
) -> None:
    with pytest.raises(UserError, match=words):
        LabPairs(root=str(lab_file(tmp_path / "lab.pt", content)), **common).card()


def test_a_lab_file_cut_short_or_of_text_is_refused(tmp_path: Path, common: dict[str, Any]) -> None:
    whole = lab_file(tmp_path / "lab.pt", [lab_pair(seed=i) for i in range(30)]).read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"not a torch file"):
        (tmp_path / "part.pt").write_bytes(content)
        with pytest.raises(UserError, match=r"part\.pt"):
            LabPairs(root=str(tmp_path / "part.pt"), **common).card()


NOISY, CLEAN = torch.randn(6, 8000, generator=torch.Generator().manual_seed(0)), torch.zeros(6, 8000)
FORMS = {
    "dict of stacks": {"noisy": NOISY, "clean": CLEAN},
    "list of dicts": [{"noisy": n, "clean": c} for n, c in zip(NOISY, CLEAN, strict=True)],
    "two stacks": (NOISY, CLEAN),
    "one stack": torch.stack([NOISY, CLEAN], 1),
    "list of stacks": list(torch.stack([NOISY, CLEAN], 1)),
    "16 bit": [((n * 1000).short(), c.short()) for n, c in zip(NOISY, CLEAN, strict=True)],
}


@pytest.mark.parametrize("form", FORMS)
def test_the_line_that_converts_another_lab_file_is_printed_and_works(
    form: str, tmp_path: Path, common: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="convert it: python -c ") as refused:
        LabPairs(root=str(lab_file(tmp_path / "other.pt", FORMS[form])), **common).card()
    line = str(refused.value).partition("python -c '")[2].rpartition("'")[0]
    exec(line, {})
    noisy, clean = read_pairs(tmp_path / "pairs.pt")
    scale = 1000 / 32768 if form == "16 bit" else 1
    torch.testing.assert_close(noisy, NOISY * scale, atol=1e-4, rtol=0)
    assert torch.equal(clean, CLEAN)


def test_the_line_that_converts_a_file_is_one_word_of_a_shell_whatever_its_name(tmp_path: Path) -> None:
    line = conversion(tmp_path / "mary's.pt", FORMS["two stacks"])
    code = shlex.split(line.removeprefix("convert it: "))[-1]
    assert f'torch.load("{tmp_path}/mary\'s.pt")' in code


def test_what_was_measured_of_a_lab_file_and_is_torn_is_measured_again(tmp_path: Path, common: dict[str, Any]) -> None:
    file = lab_file(tmp_path / "lab.pt", [(-lab_pair(seed=i)[0], lab_pair(seed=i)[1]) for i in range(12)])
    notes = LabPairs(root=str(file), **common).card().notes
    (kept,) = Path(common["cache"]).rglob("fits.json")
    for torn in (kept.read_text()[:40], "", "[]"):
        kept.write_text(torn)
        assert LabPairs(root=str(file), **common).card().notes == notes


def test_a_lab_file_whose_pairs_do_not_fit_says_so(tmp_path: Path, common: dict[str, Any]) -> None:
    pairs = [lab_pair(seed=i) for i in range(12)]
    pairs[3] = (-pairs[3][0], pairs[3][1])
    pairs[5] = (pairs[5][0].roll(25, 1), pairs[5][1])
    file, hidden = lab_file(tmp_path / "lab.pt", pairs), tmp_path / "._lab.pt"
    hidden.write_bytes(b"")
    notes = LabPairs(root=str(file.parent), **common).card().notes
    assert any(
        "1 of 12 pairs: the noisy recording is inverted against the clean one (worst: lab_0003)" in n for n in notes
    )
    assert any("noisy is 25 samples (1.6 ms) late (worst: lab_0005)" in note for note in notes)
