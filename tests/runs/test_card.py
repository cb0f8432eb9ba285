"""card.json: read as it was written, by whatever version; what is damaged is refused in one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conftest import SMALL_CARD
from speechml.errors import UserError
from speechml.runs.card import DataCard, RunCard, load_card, save_card

HERE = Path(__file__).parents[1]
OLD = sorted((HERE / "fixtures" / "runs").rglob("card.json"))
PUBLISHED = (HERE.parent / "scripts" / "results.jsonl").read_text().splitlines()


@pytest.mark.parametrize("path", OLD, ids=lambda path: path.parent.name)
def test_a_card_of_an_older_version_is_written_as_it_was_read(path: Path, tmp_path: Path) -> None:
    card = load_card(path.parent)
    assert card is not None
    save_card(tmp_path, card)
    assert json.loads((tmp_path / "card.json").read_text()) == json.loads(path.read_text())


def test_cards_of_published_results_are_read_whole() -> None:
    for line in PUBLISHED:
        content = json.loads(line) | {"state": "done"}
        assert RunCard.from_json(content, "card").to_json() == content


def test_unknown_keys_survive_a_change_and_null_stays_null(tmp_path: Path) -> None:
    data = {**SMALL_CARD["data"], "sample_rate": None, "colour": "blue"}
    content = {**SMALL_CARD, "data": data, "published": None, "later": {"a": [1]}}
    card = RunCard.from_json(content, "card")
    card.state, card.epochs = "done", 3
    save_card(tmp_path, card)
    assert json.loads((tmp_path / "card.json").read_text()) == {**content, "state": "done", "epochs": 3}


def test_a_new_card_says_null_where_there_is_no_sample_rate() -> None:
    data = DataCard(data="Lab", protocol="random", fingerprint="a", test_fingerprint="b", recordings={"test": 1})
    written = data.to_json()
    assert written["sample_rate"] is None
    assert "classes" not in written


def test_numbers_that_are_not_finite_are_null(tmp_path: Path) -> None:
    card = RunCard.from_json(SMALL_CARD, "card")
    card.scores = {"test/snr_db": float("nan"), "test/mse": float("inf")}
    save_card(tmp_path, card)
    assert json.loads((tmp_path / "card.json").read_text())["scores"] == {"test/snr_db": None, "test/mse": None}
    (tmp_path / "card.json").write_text(json.dumps({**SMALL_CARD, "scores": {"test/acc": float("nan")}}))
    loaded = load_card(tmp_path)
    assert loaded is not None
    assert loaded.scores == {"test/acc": None}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"id": None}, "card.id is missing"),
        ({"data": 5}, "card.data is int, not a mapping"),
        ({"data": {**SMALL_CARD["data"], "recordings": {"test": 1.5}}}, "card.data.recordings.test is float, not int"),
        ({"scores": {"test/acc": "x"}}, "card.scores.test/acc is str, not float"),
        ({"scores": {"test/acc": 10**400}}, "card.scores.test/acc is no finite number"),
        ({"epochs": True}, "card.epochs is bool, not int"),
        ({"overrides": [1]}, "card.overrides[0] is int, not str"),
        ({"headlines": "test/acc"}, "card.headlines is str, not list"),
        ({"state": "sleeping"}, "card.state is 'sleeping'"),
    ],
)
def test_a_damaged_card_is_refused_in_one_sentence(change: dict[str, Any], why: str, tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text(json.dumps({**SMALL_CARD, **change}))
    with pytest.raises(UserError) as refused:
        load_card(tmp_path)
    assert refused.value.why == why
    assert refused.value.fix.startswith("move")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000, "\ud800"])
def test_what_is_no_card_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "card.json").write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(UserError, match="is damaged"):
        load_card(tmp_path)
    assert load_card(tmp_path / "nowhere") is None
