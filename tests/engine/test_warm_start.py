"""A run that begins with the weights of another: what it takes over, what it refuses, and what it says of it."""

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import TINY, composed, make_features, make_pairs, read_card, run_of, succeed
from resuming import GENRE, ask, at_step, run_in
from speechml.config.compose import resolve_config
from speechml.engine.checkpoint import read_checkpoint, write_checkpoint
from speechml.engine.evaluate import evaluate
from speechml.engine.parent import read_parent
from speechml.engine.parts import Parts, build_data, build_parts
from speechml.engine.signals import Stopped
from speechml.engine.trained import find_checkpoint
from speechml.engine.warm_start import begin
from speechml.errors import UserError
from speechml.inference.export import export
from speechml.runs.card import load_card
from speechml.runs.identity import run_id
from speechml.sweep.run_configs import Composer
from stress_resume import differences

FIR = (*TINY, "experiment=lab2a_fir", "model.net.taps=8", "callbacks.figures=null", "callbacks.listening=null",
       "report=false", "trainer.max_epochs=1")  # fmt: skip
WORDS = ("experiment=words_tuned", "model.net.width=8", "trainer.precision=32", "data.batch_size=16", "report=false",
         "callbacks.figures=null", "trainer.max_steps=-1", "trainer.max_epochs=1")  # fmt: skip
Trained = dict[str, Path]


def weights_of(run: Path) -> dict[str, torch.Tensor]:
    """Those that its scores are of."""
    return dict(read_checkpoint(find_checkpoint(run))["state_dict"])


def parts_of(*words: str) -> Parts:
    config = resolve_config(composed("train", *words))
    return build_parts(config, build_data(config), Path("nowhere"))


@pytest.fixture
def genre(workplace: Path, trained: Trained) -> tuple[Path, tuple[str, ...]]:
    """A trained classifier of features, and the words of a run on others of the same classes."""
    data = make_features(workplace / "others.npz", blocks=(70, 44, 52, 48))
    return trained["genre_mlp"], (*GENRE, "model.net.dropout=0", f"data.root={data}")


def test_a_child_begins_as_its_parent_statistics_of_the_data_included(genre: tuple[Path, tuple[str, ...]]) -> None:
    parent, words = genre
    parts = parts_of(*words, f"init.from={parent}")
    start = begin(parts)
    assert start
    assert len(start.lines) == 3
    parts.task.prepare(parts.data)  # as a training does first
    fitted = parts.task.state_dict()["front_end.mean"].clone()
    parts.data.trainer = parts.trainer
    parts.task.load_state_dict(parts.task.inherited, strict=False)
    for name, weight in weights_of(parent).items():
        assert torch.equal(parts.task.state_dict()[name], weight), name
    assert not torch.equal(fitted, weights_of(parent)["front_end.mean"])


def test_statistics_that_are_skipped_are_fitted_to_the_new_data(
    genre: tuple[Path, tuple[str, ...]], workplace: Path
) -> None:
    parent, words = genre
    kept = run_in(workplace / "a", *words, f"init.from={parent}")
    fitted = run_in(workplace / "b", *words, f"init.from={parent}", "init.skip=[front_end]")
    alone = run_in(workplace / "c", *words)
    mean = "front_end.mean"
    assert torch.equal(weights_of(kept)[mean], weights_of(parent)[mean])
    assert torch.equal(weights_of(fitted)[mean], weights_of(alone)[mean])
    said = {f["check"]: f["found"] for f in read_card(kept)["audit"]["findings"]}
    assert said["statistics"] == "those that the starting weights learned by are kept"


def test_the_weights_count_and_not_where_they_lie(trained: Trained, workplace: Path) -> None:
    run = trained["lab2a_fir"]
    export(run, workplace / "exported")
    shutil.copy(find_checkpoint(run), workplace / "alone.ckpt")
    shutil.copytree(run, workplace / "moved")
    places = [run, find_checkpoint(run), workplace / "exported", "alone.ckpt", "./moved"]
    ids = [run_id(composed("train", *FIR, f"init.from={place}")) for place in places]
    assert len(set(ids)) == 1
    assert ids[0] != run_id(composed("train", *FIR))
    assert ids[0] != run_id(composed("train", *FIR, f"init.from={run}", "init.freeze=[level]"))
    others = weights_of(run) | {"net.taps": torch.zeros(8, 1, 1)}
    write_checkpoint({**read_checkpoint(workplace / "alone.ckpt"), "state_dict": others}, workplace / "alone.ckpt")
    assert run_id(composed("train", *FIR, "init.from=alone.ckpt")) != ids[0]
    quick = Composer(lambda words: composed("train", *words, keep_hydra=True), lambda key: key == "experiment")
    assert quick.run([*FIR[1:], f"init.from={run}", FIR[0]]).id == ids[0]  # what a sweep plans


@pytest.mark.parametrize("as_export", [False, True])
def test_the_lineage_goes_back_to_the_first(
    as_export: bool, trained: Trained, workplace: Path, train: Callable[..., Path]
) -> None:
    parent: Path = trained["lab2a_fir"]
    if as_export:
        export(parent, workplace / "exported")
        parent = workplace / "exported"
    child = train(*FIR, f"init.from={parent}")
    grandchild = train(*FIR, f"init.from={child}", "seed=1")
    lineage = read_card(grandchild)["lineage"]
    assert [one["id"] for one in lineage] == [child.name, trained["lab2a_fir"].name]
    assert [one["weights"] for one in lineage] == [read_parent(child).checksum, read_parent(parent).checksum]
    assert [one["data"] for one in lineage] == [
        read_card(run)["data"]["fingerprint"] for run in (child, trained["lab2a_fir"])
    ]
    assert lineage[0].items() >= {"loaded": 2, "skipped": 0, "new": 0, "frozen": 0}.items()
    log = (grandchild / "train.log").read_text()
    assert all(text in log for text in ("took over 2 weights", "skipped no weights", "began anew with no weights"))


def spoil(run: Path, **weights: torch.Tensor) -> None:
    path = find_checkpoint(run)
    content = read_checkpoint(path)
    write_checkpoint({**content, "state_dict": {**content["state_dict"], **weights}}, path)


def with_code(run: Path) -> None:
    torch.save({"code": Harmful()}, find_checkpoint(run))


class Harmful:
    def __reduce__(self) -> Any:
        return print, ("run",)


def without_checkpoint(run: Path) -> None:
    shutil.rmtree(run / "checkpoints")
    card = read_card(run)
    (run / "card.json").write_text(json.dumps({**card, "state": "failed", "files": {}}))


@pytest.mark.parametrize(
    ("do", "words", "said"),
    [
        (None, ("model.net.taps=9",), r"of another architecture: one weight does not fit \(net.taps has shape"),
        (None, ("init.skip=[net.head]",), "init.skip names net.head, and no weight"),
        (None, ("init.freeze=[net.tap]",), "init.freeze names net.tap, .*did you mean net.taps"),
        (None, ("init.freeze=['*']",), "init.freeze leaves nothing to train"),
        (None, ("init.skip=[net]",), "nothing is left of the weights"),
        (None, ("data=wav_pairs", "data.root=pairs", "data.sample_rate=16000"), "works at 32000 Hz and this one at 16000 Hz"),
        (without_checkpoint, (), "has no checkpoint"),
        (with_code, (), "nothing in it was run|was not written by speechml"),
        (lambda run: spoil(run, **{"net.taps": torch.full((8, 1, 1), torch.nan)}), (), "NaN or infinite"),
        (lambda run: find_checkpoint(run).write_bytes(b"PK" + bytes(99)), (), "cannot be read as a checkpoint"),
        (lambda run: spoil(run, more=torch.ones(1)), (), "more is unknown here"),
        (shutil.rmtree, (), "does not exist"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_before_there_is_a_run(
    do: Callable[[Path], None] | None, words: tuple[str, ...], said: str, trained: Trained, workplace: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    parent = Path(shutil.copytree(trained["lab2a_fir"], workplace / "parent"))
    if do:
        do(parent)
    if "data=wav_pairs" in words:
        from conftest import make_pairs

        make_pairs(workplace / "pairs")
        words = (*words, "~data.count")
    with pytest.raises(UserError, match=said):
        run_in(workplace / "runs", *FIR, *words, f"init.from={parent}")
    assert list((workplace / "runs").glob("*/*")) == []
    assert "\nrun\n" not in capsys.readouterr().out


def test_keys_of_weights_without_weights_are_refused(workplace: Path) -> None:
    with pytest.raises(UserError, match=r"set init.from=RUN as well"):
        run_in(workplace, *FIR, "init.skip=[net]")


def test_other_classes_get_a_head_of_their_own_and_shared_ones_keep_theirs(trained: Trained) -> None:
    words, old = (*WORDS, f"data.root={trained['words']}"), weights_of(trained["words_tuned"])
    parent = f"init.from={trained['words_tuned']}"
    head = ("net.classifier.1.weight", "net.classifier.1.bias")
    same = parts_of(*words, "data.words=[middle,high,low]", parent)  # the parent has high, low, middle
    start = begin(same)
    assert start
    assert start.lineage[0]["new"] == 0
    for name in head:
        assert torch.equal(same.task.state_dict()[name], old[name][[2, 0, 1]])
    fewer = parts_of(*words, "data.words=[low,high]", parent)
    begin(fewer)
    assert torch.equal(fewer.task.state_dict()[head[0]], old[head[0]][[1, 0]])
    others = parts_of(*words, "data.words=[low,high]", "model.classes=[low,high,loud]", parent)
    start = begin(others)
    assert start
    assert "2 of 3 classes are known to it" in start.lines[2]
    assert torch.equal(others.task.state_dict()[head[0]][:2], old[head[0]][[1, 0]])
    for name, weight in old.items():
        assert name in head or torch.equal(others.task.state_dict()[name], weight), name


def test_as_many_other_classes_are_not_taken_for_the_same(trained: Trained) -> None:
    words = (*WORDS, f"data.root={trained['words']}", "data.words=[low,high]", "model.classes=[low,high,loud]")
    parts = parts_of(*words, f"init.from={trained['words_tuned']}")
    fresh = parts_of(*words).task.state_dict()["net.classifier.1.bias"]
    start = begin(parts)
    assert start
    assert start.lineage[0]["new"] == 2
    assert torch.equal(parts.task.state_dict()["net.classifier.1.bias"][2], fresh[2])


def test_what_is_frozen_stays_as_it_was_and_the_rest_learns(trained: Trained, train: Callable[..., Path]) -> None:
    frozen = ("net.norm", "net.stem", "net.blocks.0")
    child = train(*WORDS, f"data.root={trained['words']}", f"init.from={trained['words_tuned']}",
                  f"init.freeze=[{','.join(frozen)}]", "seed=5")  # fmt: skip
    before, after = (weights_of(run) for run in (trained["words_tuned"], child))
    for name in after:  # running means of batch normalisation as well
        assert torch.equal(before[name], after[name]) == name.startswith(frozen), name
    assert read_card(child)["lineage"][0]["frozen"] == 14


def test_a_new_head_cannot_be_frozen(trained: Trained) -> None:
    words = (*WORDS, f"data.root={trained['words']}", "data.words=[low,high]", "model.classes=[low,loud,high]")
    parts = parts_of(*words, f"init.from={trained['words_tuned']}", "init.freeze=[net.classifier]")
    with pytest.raises(UserError, match=r"init.freeze keeps net.classifier.1.* which is new"):
        begin(parts)


def test_test_items_that_the_parent_has_heard_are_flagged_for_good(
    trained: Trained, train: Callable[..., Path]
) -> None:
    words = (*WORDS, f"data.root={trained['words']}", "data.split=random", "data.split_seed=3")
    child = train(*words, f"init.from={trained['words_tuned']}")
    card = load_card(child)
    assert card
    heard = set(read_checkpoint(trained["words_tuned"] / "checkpoints" / "best.ckpt")["speechml"]["heard"])
    data = build_data(resolve_config(composed("train", *words)))
    seen = sum(data.corpus.sums[i][:12] in heard for i in data.splits["test"])
    assert seen > 0
    finding = next(f for f in read_card(child)["audit"]["findings"] if f["check"] == "starting weights")
    assert (finding["state"], finding["shared"]) == ("flagged", seen)
    assert finding["found"] in (card.warnings or [])
    assert set(read_checkpoint(child / "checkpoints" / "best.ckpt")["speechml"]["heard"]) >= heard
    evaluate(composed("evaluate", f"run={child}", "data=speech_commands", f"data.root={trained['words']}"))
    audit = json.loads(next((child / "evaluations").glob("*.json")).read_text())["audit"]
    assert audit["verdict"] == "flagged"


def test_what_an_export_without_a_list_was_trained_on_is_not_known(trained: Trained, workplace: Path) -> None:
    export(trained["lab2a_fir"], workplace / "exported")
    about = json.loads((workplace / "exported" / "model.json").read_text())
    (workplace / "exported" / "model.json").write_text(json.dumps({**about, "heard": []}))
    start = begin(parts_of(*FIR, f"init.from={workplace / 'exported'}"))
    assert start
    assert start.finding.state == "unknown"
    assert "not known" in start.finding.found


def test_nor_is_it_known_of_a_child_that_is_scored_on_other_data(
    trained: Trained, train: Callable[..., Path], workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export(trained["lab2a_fir"], workplace / "exported")
    about = json.loads((workplace / "exported" / "model.json").read_text())
    (workplace / "exported" / "model.json").write_text(json.dumps({**about, "heard": []}))
    child = train(*FIR, f"init.from={workplace / 'exported'}", "trainer.max_epochs=1")
    capsys.readouterr()
    others = make_pairs(workplace / "pairs", rate=32000)
    evaluate(composed("evaluate", f"run={child}", "data=wav_pairs", f"data.root={others}", "data.sample_rate=32000"))
    assert "what the network that it began with was trained on is not known" in capsys.readouterr().out
    (audit,) = [json.loads(path.read_text())["audit"] for path in (child / "evaluations").glob("*.json")]
    assert [one["state"] for one in audit["findings"] if one["check"] == "identical audio"] == ["unknown"]


def test_a_killed_child_goes_on_without_its_parent(genre: tuple[Path, tuple[str, ...]], workplace: Path) -> None:
    parent = Path(shutil.copytree(genre[0], workplace / "parent"))
    words = (*genre[1], f"init.from={parent}", "init.freeze=[net.layers.0]", f"paths.cache={workplace / 'cache'}")
    undisturbed = run_in(workplace / "whole", *words)
    with at_step(13, ask(signal.SIGTERM)), pytest.raises(Stopped):
        run_in(workplace / "cut", *words)
    shutil.rmtree(parent)
    resumed = run_in(workplace / "cut", *words)
    assert differences(undisturbed, resumed) == []
    for key in ("lineage", "audit"):
        assert read_card(undisturbed)[key] == read_card(resumed)[key]
    records = [read_checkpoint(run / "checkpoints" / "last.ckpt")["speechml"] for run in (undisturbed, resumed)]
    assert records[0]["heard"] == records[1]["heard"]
    with pytest.raises(UserError, match="does not exist"):
        run_in(workplace / "another", *words)


@pytest.mark.slow
def test_every_process_begins_with_the_same_weights(workplace: Path) -> None:
    words = (*TINY, "experiment=lab2b_mimo_cnn", "data.batch_size=4", "threads=1", "callbacks.figures=null",
             "callbacks.listening=null", "trainer.max_epochs=1", "trainer.accelerator=cpu", "report=false")  # fmt: skip
    succeed("speechml-train", *words, "paths.runs=parents")
    parent = run_of(workplace / "parents", "lab2b_mimo_cnn")
    still = (f"init.from={parent}", "optimizer.lr=1e-30", "seed=3")
    for place, devices in (("one", ()), ("two", ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"))):
        succeed("speechml-train", *words, *still, *devices, f"paths.runs={place}")
    one, two = (run_of(workplace / place, "lab2b_mimo_cnn") for place in ("one", "two"))
    for name, weight in weights_of(two).items():
        assert torch.equal(weight, weights_of(parent)[name])
    for name, score in read_card(one)["scores"].items():  # half of the items are the other process's
        assert score == pytest.approx(read_card(two)["scores"][name], rel=1e-5), name
