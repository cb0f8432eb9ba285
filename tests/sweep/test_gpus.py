"""Several runs on a GPU: which GPUs there are, what shares them, what does not fit; the driver is a stand-in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from conftest import composed
from speechml.errors import UserError
from speechml.sweep import gpus
from speechml.sweep.gpus import check_memory, start_server, stop_server, visible_gpus
from speechml.sweep.sweep_command import SweepCommand

LISTED = """GPU 0: NVIDIA H100 (UUID: GPU-1)
  MIG 3g.40gb     Device  0: (UUID: MIG-a)
  MIG 3g.40gb     Device  1: (UUID: MIG-b)
"""


def make_program(folder: Path, name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a program first in $PATH."""
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_the_instances_of_a_divided_gpu_are_named_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    make_program(tmp_path, "nvidia-smi", f"cat <<'END'\n{LISTED}END", monkeypatch)
    assert visible_gpus() == ["MIG-a", "MIG-b"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-b")
    assert visible_gpus() == ["MIG-b"]


def test_a_driver_that_does_not_answer_leaves_the_gpus_their_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    make_program(tmp_path, "nvidia-smi", "exit 9", monkeypatch)
    assert visible_gpus() == ["0", "1"]


def test_the_drivers_server_is_started_for_its_clients_and_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_MPS_PIPE_DIRECTORY", raising=False)
    log = tmp_path / "log"
    make_program(
        tmp_path, gpus.SERVER, f'echo "$1 $CUDA_MPS_PIPE_DIRECTORY" >> {log}; test "$1" || cat >> {log}', monkeypatch
    )
    environment = start_server(["0"])
    place = Path(environment["CUDA_MPS_PIPE_DIRECTORY"])
    assert place.is_dir()
    stop_server(environment)
    assert not place.exists()
    assert log.read_text().split() == ["-d", str(place), str(place), "quit"]
    assert start_server(["MIG-a"]) == {}
    make_program(tmp_path, gpus.SERVER, "exit 1", monkeypatch)
    assert start_server(["0"]) == {}


def test_runs_that_do_not_fit_on_a_gpu_are_refused_with_the_number_that_does() -> None:
    check_memory(3 * 10**9, 4, [16 * 10**9, 12 * 10**9])
    with pytest.raises(UserError, match=r"5 runs of 3.0 GB each do not fit .* set hydra.launcher.per_gpu=4"):
        check_memory(3 * 10**9, 5, [16 * 10**9, 12 * 10**9])
    with pytest.raises(UserError, match="use a larger GPU"):
        check_memory(13 * 10**9, 2, [12 * 10**9])


def test_several_runs_a_gpu_are_refused_where_runs_see_none() -> None:
    words = ("hydra.sweep.dir=s", "hydra/launcher=local", "hydra.launcher.per_gpu=4")
    command = SweepCommand(composed("train", *words, keep_hydra=True), None, [])  # type: ignore[arg-type] # none is asked
    with pytest.raises(UserError, match=r"hydra.launcher.per_gpu is of GPUs, and the runs see none; add trainer=gpu"):
        command.open_launcher(None, most=9)
