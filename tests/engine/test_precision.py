"""A run in bfloat16 says so where the processor only imitates it; shipped experiments do not ask for it."""

from pathlib import Path

import lightning.pytorch as pl
import pytest
import yaml

from speechml.engine import precision
from speechml.engine.precision import has_bfloat16, precision_notes

CONF = Path(__file__).parents[2] / "conf"


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx512f avx512_bf16\n", True), ("flags\t: fpu amx_bf16 amx_tile\n" * 2, True),
        ("processor\t: 0\nflags\t\t: fpu avx2 fma\n", False), ("Features\t: fp asimd i8mm bf16\n", True),
        ("Features\t: fp asimd svebf16x\n", False), ("flags\t: avx512_bf16\nflags\t: avx2\n", False), ("model name: Z\n", None),
    ],
)  # fmt: skip
def test_flags_of_linux_say_whether_a_processor_has_bfloat16(text: str, known: bool | None) -> None:
    assert has_bfloat16(text) is known


@pytest.mark.parametrize(
    ("asked", "flags", "says"),
    [("bf16-mixed", "flags: avx2", True), ("bf16-mixed", "flags: avx512_bf16", False), ("32-true", "flags: avx2", False),
     ("bf16-mixed", None, False)],
)  # fmt: skip
def test_a_slow_precision_is_said_in_one_sentence_with_the_remedy(
    asked: str, flags: str | None, says: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cpuinfo"
    if flags:
        file.write_text(flags + "\n")
    monkeypatch.setattr(precision, "CPUINFO", file)
    trainer = pl.Trainer(accelerator="cpu", precision=asked, logger=False, enable_checkpointing=False)
    notes = precision_notes(trainer)
    assert len(notes) == says
    assert all("trainer.precision=32-true" in note and "\n" not in note for note in notes)


def test_no_shipped_experiment_asks_a_processor_for_bfloat16() -> None:
    for path in sorted((CONF / "experiment").glob("*.yaml")):
        asked = (yaml.safe_load(path.read_text()).get("trainer") or {}).get("precision", "32-true")
        assert asked == "32-true", path.name
    assert yaml.safe_load((CONF / "trainer" / "gpu.yaml").read_text())["precision"] == "bf16-mixed"
