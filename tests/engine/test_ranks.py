from typing import Any

import pytest
import torch

from speechml.engine.distributed import processes


@pytest.mark.parametrize(
    ("trainer", "count"),
    [
        ({"accelerator": "cpu", "devices": 1}, 1),
        ({"accelerator": "cpu", "devices": 2}, 2),
        ({"accelerator": "cpu", "devices": "auto"}, 1),
        ({"accelerator": "gpu", "devices": "auto"}, 4),
        ({"accelerator": "auto", "devices": -1, "num_nodes": 2}, 8),
        ({"accelerator": "gpu", "devices": [0, 3]}, 2),
        ({"accelerator": "gpu", "devices": "1,2,3"}, 3),
        ({"accelerator": "mps", "devices": 1}, 1),
    ],
)
def test_the_number_of_processes_is_known_before_lightning_starts_them(
    trainer: dict[str, Any], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert processes(trainer) == count
