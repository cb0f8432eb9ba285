"""Passwords and tokens of a command stand in no file that is shown to others."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from conftest import TINY, read_card, run_of, succeed
from speechml.config.compose import HIDDEN, mask_secrets, simplify_overrides, without_secrets


@pytest.mark.parametrize(
    "text",
    [
        'hydra.launcher.setup=["export HF_TOKEN=s3cret","module load cuda"]',
        "hydra.launcher.setup=['export KEY=s3cret']",
        "hydra.launcher.setup=['export PASS=\"s3cret word\"']",
        "setup=[\"curl -H 'Authorization: Bearer s3cret' example.org\"]",
        'setup=["wandb login --token s3cret"]',
        'setup=["AWS_SECRET_ACCESS_KEY=s3cret; run"]',
        "hydra.job.env_set.WANDB_API_KEY=s3cret",
        "+data.token=s3cret",
        "+data.db_password=s3cret",
        "data.root=https://user:s3cret@example.org/x",
        "x=hf_s3cretabcdefghij",
        "x=ghp_s3cretabcdefghij",
        "api-key: s3cret",
        '{"passwd": "s3cret"}',
        "data.tokens=[s3cret,b]",
        "api_keys: s3cret",
        "passwords=[80, s3cret]",
        "data.token=80s3cret",
    ],
)
def test_a_secret_is_hidden_by_its_name_or_its_look(text: str) -> None:
    masked = mask_secrets(text)
    assert "s3cret" not in masked
    assert HIDDEN in masked
    assert mask_secrets(masked) == masked
    assert masked.startswith(text[:1])


@pytest.mark.parametrize(
    "text",
    [
        "model.net.taps=81", "published.note='a key figure'", "data.words=[key,secret,token]", "model.passes=1", "author=me",
        "keys: 3", "data.root=/home/monkey/tokens", "monkey=3", "checkpoint.monitor=val/acc", "tokens=5", "bypass=1",
        "model.high_pass=80", "model.high_pass=80,4000", "model.band_pass=[80, 4e3]", "model.low_pass=choice(80,4000)",
        "model.key_dim=64", "model.net.token_dims=[8,16]", "model.pass_through=true", "model.key_name=c", '{"key": 5, "a": 1}',
        "data.token=null",
    ],
)  # fmt: skip
def test_what_is_no_secret_stays(text: str) -> None:
    assert mask_secrets(text) == text
    assert simplify_overrides([text]) == [text]


def test_yaml_is_the_same_but_for_its_secrets() -> None:
    node = {"seed": 1, "data": {"token": "s3cret", "key": {"a": 1}, "password": "a b c", "root": "x"}, "n": [1, 2]}
    masked = yaml.safe_load(mask_secrets(yaml.safe_dump(node)))
    data = {"token": HIDDEN, "key": {"a": 1}, "root": "x"}
    assert {**masked, "data": {k: v for k, v in masked["data"].items() if k != "password"}} == {**node, "data": data}
    assert "a b" not in masked["data"]["password"]


def test_plain_values_are_hidden_by_their_key_and_numbers_never() -> None:
    kept = {"high_pass": 80, "key_dim": 64, "token_dims": [8, 16], "pass_through": True, "token": None, "key": {"a": 1},
            "swept": {"model.high_pass": "80,4000"}}  # fmt: skip
    secrets = {
        "tokens": ["s3cret"],
        "password": ["s3cret", "b c"],
        "api_keys": "s3cret",
        "auth": "a s3cret",
        "note": "key=s3cret",
    }
    hidden = {
        "tokens": [HIDDEN],
        "password": [HIDDEN, HIDDEN],
        "api_keys": HIDDEN,
        "auth": HIDDEN,
        "note": f"key={HIDDEN}",
    }
    assert without_secrets(kept | secrets) == kept | hidden


def everything(folder: Path) -> str:
    """The text of all files below a folder, but for what a machine alone reads."""
    files = [
        path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".ckpt", ".npz", ".wav", ".png")
    ]
    return "\n".join(path.read_text(errors="replace") for path in files)


def test_a_runs_files_and_page_hold_no_secret_of_its_command(workplace: Path) -> None:
    words = ["experiment=lab2a_fir", *TINY, "model.net.taps=4", "trainer.max_epochs=1", "callbacks.figures=null",
             "published.note='password: s3cret'", "+hydra.job.env_set.MY_PASSWORD=s3cret"]  # fmt: skip
    succeed("speechml-train", *words)
    run = run_of(workplace / "runs")
    assert read_card(run)["state"] == "done"
    text = everything(workplace / "runs")
    assert HIDDEN in text
    assert "s3cret" not in text
    assert (run / "report.html").is_file()
    for path in (run / "checkpoints").glob("*.ckpt"):
        assert b"s3cret" not in path.read_bytes()  # members are stored, not compressed


def test_settings_of_a_users_own_network_stay_and_its_secrets_do_not(
    train: Callable[..., Path], workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workplace / "own_net.py").write_text(
        "from speechml.models import FIR\n\n\nclass Own(FIR):\n"
        "    def __init__(self, taps, high_pass=0, key_dim=0, tokens=(), password=''):\n        super().__init__(taps)\n"
    )
    monkeypatch.setenv("SPEECHML_CONF", str(workplace))
    monkeypatch.syspath_prepend(workplace)
    own = ("high_pass=80", "key_dim=64", "tokens=[s3cret,b]", "password=80s3cret")
    run = train("experiment=lab2a_fir", *TINY, "model.net.taps=4", "trainer.max_epochs=1", "callbacks.figures=null", "test=false",
                "model.net._target_=own_net.Own", *(f"+model.net.{word}" for word in own))  # fmt: skip
    assert "s3cret" not in everything(run)
    net = yaml.safe_load((run / "config.yaml").read_text())["model"]["net"]
    assert [net[key] for key in ("high_pass", "key_dim", "tokens")] == [80, 64, [HIDDEN, HIDDEN]]


def test_a_sweeps_record_and_its_runs_hold_no_secret_of_its_command(workplace: Path) -> None:
    words = [
        "experiment=lab2a_fir",
        *TINY,
        "model.net.taps=4",
        "trainer.max_epochs=1",
        "callbacks.figures=null",
        "report=false",
    ]
    succeed("speechml-train", "-m", *words, "seed=0,1", "published.note='password: s3cret'")
    assert "s3cret" not in everything(workplace / "runs")
    record = json.loads(next(workplace.glob("runs/.sweeps/*/*/sweep.json")).read_text())
    assert f"password: {HIDDEN}" in record["command"]


def test_the_log_of_a_run_that_fails_holds_no_secret(train: Callable[..., Path], workplace: Path, monkeypatch) -> None:
    from speechml.engine import life

    def fail(*_: object) -> None:
        raise RuntimeError("login failed with token=s3cret")

    monkeypatch.setattr(life, "begin_fit", fail)
    monkeypatch.setattr(sys, "argv", ["speechml-train", "seed=1"])
    with pytest.raises(RuntimeError):
        train("experiment=lab2a_fir", *TINY, "model.net.taps=4", "trainer.max_epochs=1", "callbacks.figures=null")
    run = run_of(workplace / "runs")
    assert f"token={HIDDEN}" in read_card(run)["error"]
    assert f"token={HIDDEN}" in (run / "train.log").read_text()
    assert "s3cret" not in everything(run)
