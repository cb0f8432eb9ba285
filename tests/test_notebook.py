"""The notebook of examples/, and what the buttons of a notebook do, in a kernel of its own."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
import torch
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient

import speechml
from conftest import succeed

NOTEBOOK = Path(__file__).parents[1] / "examples" / "first_hour.ipynb"
LIMIT_S = 300  # a cell that takes longer hangs
pytestmark = pytest.mark.slow


def test_the_notebook_is_stored_without_outputs() -> None:
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    assert [(cell["outputs"], cell["execution_count"]) for cell in cells] == [([], None)] * len(cells)


def test_the_notebook_runs_and_trains_the_weights_of_the_command(workplace: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=LIMIT_S, resources={"metadata": {"path": str(workplace)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    pages = [output.data["text/html"] for output in outputs if "text/html" in output.get("data", {})]
    assert any("SNR (dB)" in page and "<iframe sandbox" in page for page in pages)  # a run
    assert any("verdict" in page for page in pages)  # a comparison
    said = "".join(output.text for output in outputs if output.output_type == "stream")
    assert "training:" in said  # the bar
    assert "step/s" in said
    assert "there is no key optimzer; did you mean optimizer?" in said
    assert not any("Widget" in str(output) or "IProgress" in str(output) for output in outputs)
    runs = speechml.runs()
    assert len(runs) == 4
    for run in (runs[0], runs[-1]):
        succeed("speechml-train", *run.card.overrides, "paths.runs=command", env=os.environ)
        own, theirs = run.load().state_dict(), speechml.load(Path("command", *run.folder.parts[-2:])).state_dict()
        assert all(torch.equal(own[name], theirs[name]) for name in theirs)


@pytest.fixture
def kernel(workplace: Path) -> Iterator[tuple[Any, BlockingKernelClient]]:
    """A notebook's kernel that works in an empty folder, and what talks to it."""
    manager, client = start_new_kernel(cwd=str(workplace))
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def test_the_stop_button_saves_the_run_and_the_same_cell_goes_on(kernel: tuple[Any, BlockingKernelClient]) -> None:
    manager, client = kernel
    words = ["experiment=lab2a_fir", "+data.count=40", "model.net.taps=8", "report=false", "callbacks.listening=null",
             "callbacks.figures=null"]  # fmt: skip
    cell = client.execute(f"import speechml\nspeechml.train({[*words, 'trainer.max_epochs=2000']})")
    while not list(Path("runs").glob("*/*/metrics.csv")):
        time.sleep(0.05)
    manager.interrupt_kernel()
    while (message := client.get_shell_msg(timeout=LIMIT_S))["parent_header"]["msg_id"] != cell:
        pass  # an answer to what was asked when the kernel began
    reply = message["content"]
    assert (reply["status"], reply["ename"]) == ("error", "Interrupted")
    assert reply["traceback"] == [reply["evalue"]]
    assert reply["evalue"].endswith("the same call goes on with it")
    (run,) = speechml.runs()
    assert run.state == "stopped"
    reply = client.execute_interactive("speechml.train(['sed=1'])", timeout=LIMIT_S, output_hook=lambda _: None)[
        "content"
    ]
    assert reply["traceback"] == ["error: there is no key sed; did you mean seed?"]
    assert client.execute_interactive("1 + 1", timeout=LIMIT_S, output_hook=lambda _: None)["content"]["status"] == "ok"
    assert len(speechml.runs()) == 1
