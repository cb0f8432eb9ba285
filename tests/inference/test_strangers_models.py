"""What docs/runs.md promises of checkpoints from strangers: they build networks only, within bounds, and fetch nothing."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import composed, make_pairs, read_card, run_of
from speechml.config.nodes import check_foreign_node
from speechml.engine.checkpoint import read_checkpoint, write_checkpoint
from speechml.engine.trained import load_task
from speechml.errors import UserError
from strangers import Place, run_speechml


def node_of(config: dict[str, Any], section: str) -> dict[str, Any]:
    node: dict[str, Any] = config["model"] if section == "model" else config["model"]["net"]
    return node


def edited(run: Path, edit: Callable[[dict[str, Any]], object]) -> Path:
    """A stranger's checkpoint, the one that a run's scores come from: sealed, whole, and with another config."""
    path = run / "checkpoints" / f"{read_card(run).get('test_weights', 'best')}.ckpt"
    content = read_checkpoint(path)
    edit(content["speechml"]["config"])
    write_checkpoint(content, path)
    return path


@pytest.mark.parametrize(
    "target",
    ["os.system", "subprocess.Popen", "builtins.eval", "torch.load", "torch.hub.load", "speechml.cli.app", "posix.system",
     "torch.utils.cpp_extension.load", "speechml.config.compose.os.system", "", None, 3, ["os.system"]],
)  # fmt: skip
@pytest.mark.parametrize("section", ["model", "net"])
def test_a_strangers_checkpoint_builds_networks_only(section: str, target: object, place: Place) -> None:
    path = edited(place.run, lambda config: node_of(config, section).update(_target_=target, command="mkdir ran"))
    with pytest.raises(UserError, match="describes no model"):
        load_task(path)
    assert not Path("ran").exists()


def loop() -> list[object]:
    endless: list[object] = []
    endless.append(endless)
    return endless


def doubled() -> list[object]:
    many: list[object] = [1]
    for _ in range(40):
        many = [many, many]
    return many


FIR = [
    ("model", "sample_rate", value) for value in (0, -16000, 10**15, float("nan"), float("inf"), "x", None, [16000], 2**200, True)
] + [
    ("net", "taps", value) for value in (0, -1, 10**9, 10**15, 81, float("nan"), [8], None, "8", loop(), doubled(), (8,))
] + [
    ("net", "_target_", name) for name in ("speechml.models.MLP", "torch.nn.Linear", "torch.nn.LSTM", "speechml.models.Nothing")
] + [
    ("model", "loss", "os.system"), ("model", "unknown", 1), ("model", "net", None), ("model", "net", []),
]  # fmt: skip


@pytest.mark.parametrize(("section", "key", "value"), FIR)
def test_a_number_beyond_all_bounds_in_a_denoiser_is_one_sentence(
    section: str, key: str, value: object, place: Place, monkeypatch, capsys
) -> None:
    edited(place.run, lambda config: node_of(config, section).update({key: value}))
    assert run_speechml(monkeypatch, "denoise", str(place.run), "speech.wav", "-o", "out") == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1


NETS = [
    {"_target_": "speechml.models.MIMOCNN", "taps": [8, 8], "features": [1, 10**9, 1]},
    {"_target_": "speechml.models.MIMOCNN", "taps": [8] * 10**5, "features": [1] * (10**5 + 1)},
    {"_target_": "speechml.models.CNN", "taps": [8] * 10**6},
    {"_target_": "speechml.models.FCNN", "samples": 10**6, "hidden": 10**6},
    {"_target_": "speechml.models.MLP", "layers": 10**7},
    {"_target_": "speechml.models.MLP", "layers": 1000, "units": 10000},
    {"_target_": "torch.nn.Linear", "in_features": 10**6, "out_features": 10**6},
    {"_target_": "torch.nn.Linear", "in_features": 10**18, "out_features": 1},
    {"_target_": "torch.nn.Transformer", "num_encoder_layers": 10**9},
    {"_target_": "torch.nn.Embedding", "num_embeddings": 2**62, "embedding_dim": 1},
]


@pytest.mark.parametrize("net", NETS, ids=range(len(NETS)))
def test_no_memory_is_taken_for_a_network_that_its_weights_do_not_fill(net: dict[str, Any], place: Place) -> None:
    path = edited(place.run, lambda config: config["model"].update(net=net))
    with pytest.raises(UserError, match=r"describes no model|another model"):
        load_task(path)


SPECTRA = [
    {"n_fft": 2**40}, {"n_fft": 0}, {"n_fft": -2}, {"hop": 0}, {"hop": 1, "n_fft": 65536}, {"hop": 2**40}, {"sample_rate": 0},
    {"run": 10**12}, {"seed": 2**100}, {"augment": {"remix": float("nan")}},
]  # fmt: skip


@pytest.mark.parametrize("keys", SPECTRA, ids=str)
def test_a_transform_beyond_all_bounds_is_one_sentence(keys: dict[str, Any]) -> None:
    node = {"_target_": "speechml.tasks.MagnitudeDenoiser", "sample_rate": 16000,
            "net": {"_target_": "speechml.models.STFTCNN1d"}}  # fmt: skip
    check_foreign_node(node, "model.")
    with pytest.raises(UserError, match="model"):
        check_foreign_node({**node, **keys}, "model.")


FRONT_ENDS = [
    {"n_fft": 2**40},
    {"hop_s": 0},
    {"hop_s": 1e-9},
    {"window_s": float("inf")},
    {"mels": 10**9},
    {"kind": "x"},
]


@pytest.mark.parametrize("keys", FRONT_ENDS, ids=str)
def test_a_front_end_beyond_all_bounds_is_one_sentence(keys: dict[str, Any]) -> None:
    node = {
        "_target_": "speechml.tasks.Classifier",
        "sample_rate": 16000,
        "net": {"_target_": "speechml.models.SpectrogramResNet"},
    }
    check_foreign_node({**node, "front_end": {}}, "model.")
    with pytest.raises(UserError, match="front_end"):
        check_foreign_node({**node, "front_end": keys}, "model.")


@pytest.mark.parametrize("kind", ["stride of zero", "sparse", "meta"])
def test_weights_that_say_to_be_larger_than_their_file_are_refused(kind: str, place: Place) -> None:
    path = place.run / "checkpoints" / "best.ckpt"
    content = read_checkpoint(path)
    content["state_dict"]["net.taps"] = {
        "stride of zero": lambda: torch.zeros(1).expand(1, 1, 10**9), "meta": lambda: torch.empty(1, 1, 8, device="meta"),
        "sparse": lambda: torch.sparse_coo_tensor(torch.zeros(1, 0, dtype=torch.long), torch.zeros(0), (10**9,)),
    }[kind]()  # fmt: skip
    write_checkpoint(content, path)
    with pytest.raises(UserError, match=r"best\.ckpt"):
        load_task(path)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked of the network; nothing of it is answered."""
    asked: list[str] = []

    def refuse(*address: object, **_: object) -> None:
        asked.append(str(address))
        raise OSError("no network here")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return asked


def evaluate(run: Path, *words: str) -> dict[str, float]:
    from speechml.engine.evaluate import evaluate

    return evaluate(composed("evaluate", f"run={run}", *words))


DATA = [
    {"_target_": "speechml.data.SpeechCommands", "root": "{outside}", "download": "v0.02", "sample_rate": 16000},
    {"_target_": "speechml.data.WavPairs", "root": "{outside}", "sample_rate": 32000, "clip_s": 1},
    {"_target_": "speechml.data.RecordingPair", "noisy_file": "{pipe}", "clean_file": "{pipe}", "sample_rate": 32000,
     "clip_s": 1},
    {"_target_": "speechml.data.WavPairs", "root": "/", "sample_rate": 32000, "clip_s": 1},
    {"_target_": "speechml.data.SpokenPairs", "count": 10**9, "sample_rate": 32000, "clip_s": 1},
    {"_target_": "lightning.pytorch.demos.boring_classes.BoringDataModule"},
    {"_target_": "lightning.pytorch.Trainer", "default_root_dir": "{outside}"},
    {"_target_": "torch.nn.Linear", "in_features": 10**5, "out_features": 10**5},
    {"_target_": "os.system"}, {}, None, "x", [], doubled(),
]  # fmt: skip


@pytest.mark.parametrize("node", DATA, ids=range(len(DATA)))
def test_a_strangers_run_names_no_data_no_place_and_no_download(
    node: Any, runs: Path, workplace: Path, offline: list[str]
) -> None:
    outside = make_pairs(workplace / "outside", rate=32000)
    os.mkfifo(workplace / "pipe")
    if isinstance(node, dict):
        places = {"outside": outside, "pipe": workplace / "pipe"}
        node = {
            "batch_size": 4,
            "split_seed": 0,
            **{k: v.format(**places) if isinstance(v, str) else v for k, v in node.items()},
        }
    edited(run_of(runs), lambda config: config.update(data=node))
    before = sorted(workplace.rglob("*"))
    with pytest.raises(UserError, match=r"describes no data|names .* as its data"):
        evaluate(run_of(runs))
    assert sorted(workplace.rglob("*")) == before
    assert offline == []


@pytest.mark.parametrize("elsewhere", ["outside", "/proc/1/x", "~/elsewhere"])
def test_a_strangers_run_packs_nothing_elsewhere(elsewhere: str, runs: Path, workplace: Path) -> None:
    edited(run_of(runs), lambda config: config["data"].update(cache=elsewhere))
    assert evaluate(run_of(runs))["test/snr_db"] == pytest.approx(read_card(run_of(runs))["scores"]["test/snr_db"])
    assert not (workplace / "outside").exists()


def test_a_run_on_recordings_of_ones_own_is_scored_again_without_naming_them(
    train: Callable[..., Path], workplace: Path
) -> None:
    """They were named when it was trained; of another run that names others they have to be named."""
    pairs = make_pairs(workplace / "mine", count=8, seconds=1.0)
    others = shutil.copytree(pairs, workplace / "others")
    run = train("experiment=lab2a_fir", "data=wav_pairs", f"data.root={pairs}", "model.net.taps=8", "trainer.max_epochs=1",
                "callbacks.figures=null", "report=false")  # fmt: skip
    assert evaluate(run)["test/snr_db"] == pytest.approx(read_card(run)["scores"]["test/snr_db"])
    edited(run, lambda config: config["data"].update(root=str(others)))
    with pytest.raises(UserError, match="others as its data"):
        evaluate(run)
    evaluate(run, "data=wav_pairs", f"data.root={others}")


METRICS = ["torchmetrics.audio.DeepNoiseSuppressionMeanOpinionScore", "torchmetrics.text.BERTScore",
           "torchmetrics.image.fid.FrechetInceptionDistance"]  # fmt: skip


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_that_may_fetch_files_is_left_out_with_a_note(
    name: str, runs: Path, offline: list[str], capsys
) -> None:
    edited(run_of(runs), lambda config: config.update(metrics={"other": {"_target_": name}}))
    with contextlib.suppress(UserError):  # it is not installed
        evaluate(run_of(runs))
        assert "note: metrics.other is not scored again" in capsys.readouterr().err
    assert offline == []
