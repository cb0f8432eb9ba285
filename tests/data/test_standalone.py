"""Data modules without a trainer: few keys, tensors in plain loops, items for torch's DataLoader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
import yaml
from torch.utils.data import DataLoader

from conftest import make_features, make_pairs, make_words, mixed_folders
from speechml.config.compose import conf_dir
from speechml.config.schema import keys_of, schema_of
from speechml.contracts import ClipBatch, FeatureBatch, IndexBatch, ItemKind, PairBatch
from speechml.data import GenreFeatures, MixedPairs, SpeechCommands, SpokenPairs, WavPairs
from speechml.errors import UserError


@pytest.fixture(params=["pairs", "mixed", "words", "genre"])
def data(request: pytest.FixtureRequest, tmp_path: Path, cache: Path) -> Any:  # noqa: ARG001
    """A data module, made with few keys."""
    make: dict[str, Any] = {
        "pairs": lambda: WavPairs(root=make_pairs(tmp_path / "pairs"), batch_size=3),
        "mixed": lambda: MixedPairs(**mixed_folders(tmp_path), batch_size=3),
        "words": lambda: SpeechCommands(root=make_words(tmp_path / "words", speakers=12), batch_size=5),
        "genre": lambda: GenreFeatures(root=make_features(tmp_path / "f.npz")),
    }
    return make[request.param]()


class Watching(pl.LightningModule):
    """Keeps the batches that a trainer gives, and learns nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[Any] = []

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:  # noqa: ARG002
        self.seen.append(batch)
        return 0 * self.weight

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def assert_equal(batches: list[Any], others: list[Any]) -> None:
    assert len(batches) == len(others) > 0
    for one, other in zip(batches, others, strict=True):
        assert type(one) is type(other)
        for name, value in one._asdict().items():
            same = (
                torch.equal(value, getattr(other, name))
                if isinstance(value, torch.Tensor)
                else value == getattr(other, name)
            )
            assert same, name


def test_plain_loops_have_the_batches_of_a_training_epoch_by_epoch(data: Any, tmp_path: Path) -> None:
    loader = data.train_dataloader()
    plain = [*loader, *data.train_dataloader()]  # two passes: of one loader or of two
    assert len(plain) == 2 * len(loader)
    assert all(isinstance(batch, (PairBatch, ClipBatch, FeatureBatch)) for batch in plain)
    orders = [batch.indices.tolist() for batch in plain]
    assert orders[: len(loader)] != orders[len(loader) :]
    module = Watching()
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = pl.Trainer(max_epochs=2, accelerator="cpu", default_root_dir=tmp_path, **quiet)  # type: ignore[arg-type]
    trainer.fit(module, datamodule=data)
    assert_equal(module.seen, plain)
    after = next(iter(data.train_dataloader()))  # the trainer is done: tensors again, of the next pass
    assert_equal([after], [data.load_batch(IndexBatch("train", 2, after.indices))])


def test_validation_and_test_batches_are_whole_and_the_same_each_time(data: Any) -> None:
    for split, loader in (("val", data.val_dataloader()), ("test", data.test_dataloader())):
        batches = list(loader)
        assert_equal(batches, list(loader))
        assert set(data.splits[split]) <= {int(i) for batch in batches for i in batch.indices}


def test_a_dataset_has_each_item_once_and_torch_collates_it(data: Any) -> None:
    for split in ("train", "val", "test"):
        items = data.dataset(split)
        assert len(items) == (data.items_per_epoch if split == "train" else len(data.splits[split]))
        assert items[0][0].dim() == (1 if data.kind is ItemKind.ROWS else 2)
    batches = list(DataLoader(data.dataset("train"), batch_size=3))
    one, two = (torch.cat(column) for column in zip(*batches, strict=True))
    whole = [data.load_batch(IndexBatch("train", 0, torch.tensor([i]))) for i in items_of(data)]
    assert torch.equal(one, torch.cat([batch[0] for batch in whole]))
    assert torch.equal(two, torch.cat([batch[1] for batch in whole]))


def items_of(data: Any) -> list[int]:
    clips = getattr(data.corpus, "clips", None)
    return data.splits["train"] if clips is None else clips.tolist()


def test_worker_processes_of_a_dataloader_give_the_same(data: Any) -> None:
    items = data.dataset("train")
    alone, helped = (list(DataLoader(items, batch_size=4, num_workers=workers)) for workers in (0, 1))
    assert all(
        torch.equal(a, b) for one, other in zip(alone, helped, strict=True) for a, b in zip(one, other, strict=True)
    )


def test_a_dataset_of_mixtures_has_others_in_another_epoch(tmp_path: Path, cache: Path) -> None:  # noqa: ARG001
    data = MixedPairs(**mixed_folders(tmp_path))
    noisy = [data.dataset("train", epoch)[0][0] for epoch in (0, 1)]
    clean = [data.dataset("train", epoch)[0][1] for epoch in (0, 1)]
    assert not torch.equal(*noisy)
    assert torch.equal(*clean)
    with pytest.raises(UserError, match="there is no split 'training'; choose train, val, test"):
        data.dataset("training")


def test_a_clip_is_the_recording_of_its_file_and_the_label_its_folder(tmp_path: Path, cache: Path) -> None:  # noqa: ARG001
    import soundfile

    root = make_words(tmp_path / "words", speakers=12)
    data = SpeechCommands(root=root)
    for number in (0, len(data.dataset("train")) - 1):
        waveform, label = data.dataset("train")[number]
        name = data.item_names[data.splits["train"][number]]
        file = root / f"{name.removesuffix('.wav')}.wav"
        assert waveform.numpy()[0] == pytest.approx(soundfile.read(file, dtype="float32")[0], abs=2 / 32768)
        assert data.classes[int(label)] == file.parent.name


def test_the_embedded_pairs_need_no_key(monkeypatch: pytest.MonkeyPatch, cache: Path, tmp_path: Path) -> None:
    assert SpokenPairs().cache_folder == cache  # as $SPEECHML_CACHE says
    monkeypatch.delenv("SPEECHML_CACHE")
    assert SpokenPairs().cache_folder == Path("~/.cache/speechml").expanduser()
    assert SpokenPairs(cache=tmp_path).cache_folder == tmp_path
    data = SpokenPairs(count=40, cache=cache)
    noisy, clean = data.dataset("train")[0]
    assert noisy.shape == clean.shape == (1, 32000)
    assert np.isfinite(noisy.numpy()).all()


OWN_FILES = sorted(path for path in Path(conf_dir(), "data").glob("*.yaml") if path.stem != "own")  # of classes of ours


@pytest.mark.parametrize("path", OWN_FILES, ids=lambda path: path.stem)
def test_keys_have_the_defaults_of_their_files(path: Path) -> None:
    content = yaml.safe_load(path.read_text())
    if "_target_" not in content:  # made of another file
        return
    schema = schema_of(content.pop("_target_"))
    assert schema
    known = keys_of(schema)
    chosen = {"val_pairs"}  # of the labs: as many as their text says, and not as in data of one's own
    for name, value in content.items():
        if name not in {"seed", "cache", *chosen} and value != "???":
            assert known[name].default == value, name
