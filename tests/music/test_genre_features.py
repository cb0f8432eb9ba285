"""Rows of music's features: songs and channels are told apart, and the honest split knows no row twice."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import SHARED, feature_rows, make_features, needs_shared
from speechml.data import GenreFeatures
from speechml.errors import UserError
from speechml.music.feature_files import conversion, read_music
from speechml.music.recordings import Music
from speechml.music.split import as_published, honest
from speechml.report.audit import audit_data

SMALL = SHARED / "ddasp-genre-features" / "_raw_data_small.npz"


def data_of(path: Path, tmp_path: Path, **keys: Any) -> GenreFeatures:
    return GenreFeatures(
        **{"root": str(path), "batch_size": 32, "split_seed": 0, "cache": str(tmp_path / "cache"), **keys}
    )


def music(songs_a_genre: int, blocks: int = 20, genres: int = 2) -> Music:
    """Songs of random rows in two channels."""
    random = np.random.default_rng(1)
    count = songs_a_genre * genres
    song = np.repeat(np.arange(count), 2 * blocks)
    return Music(
        features=random.standard_normal((len(song), 12)), label=song % genres, song=song,
        channel=np.tile(np.repeat([0, 1], blocks), count), block=np.tile(np.arange(blocks), 2 * count),
        songs=[f"s{i}" for i in range(count)], genres=[str(i) for i in range(genres)], notes=[],
    )  # fmt: skip


def moments(found: Music, rows: list[int]) -> set[tuple[int, int]]:
    return {(int(found.song[row]), int(found.block[row])) for row in rows}


@needs_shared
def test_the_published_file_is_four_songs_in_two_channels(tmp_path: Path) -> None:
    from speechml.music.feature_files import read_music

    found = read_music(SMALL, tmp_path)
    sizes = [(found.song == song).sum() for song in range(4)]
    assert sizes == [2 * 893, 2 * 908, 2 * 406, 2 * 496]  # LABS.md
    for song in range(4):
        left, right = ((found.song == song) & (found.channel == channel) for channel in (0, 1))
        assert np.corrcoef(found.features[left, 5], found.features[right, 5])[0, 1] > 0.9
    data = data_of(SMALL, tmp_path)
    assert "metal 33.0%, EDM 33.6%, classical 33.4%; 30 rows repeat another one" in " ".join(data.card().notes)


def test_rows_as_published_are_divided_50_25_25_and_all_of_them_normalise(tmp_path: Path) -> None:
    data = data_of(make_features(tmp_path / "x.npz"), tmp_path)
    counts = data.card().recordings
    assert counts == {"train": 194, "val": 97, "test": 97}
    with np.load(tmp_path / "x.npz") as file:
        np.testing.assert_allclose(data.rows_to_fit().numpy(), file["Xdata"], rtol=1e-6)
    leaks = next(note for note in data.card().notes if note.startswith("as published"))
    assert "normalise" in leaks
    assert "other channel" in leaks


def test_rows_divided_honestly_in_time_keep_both_channels_together_and_the_end_for_the_test(tmp_path: Path) -> None:
    from speechml.music.feature_files import read_music

    path = make_features(tmp_path / "x.npz")
    data, found = data_of(path, tmp_path, protocol="honest"), read_music(path, tmp_path)
    parts = data.splits
    assert data.card().protocol == "time"
    assert sum(map(len, parts.values())) == len(found.label)
    seen = [moments(found, rows) for rows in parts.values()]
    assert len(set.union(*seen)) == sum(map(len, seen))  # none in two parts
    for song, blocks in enumerate((60, 50, 40, 44)):
        quarter = round(blocks / 4)
        assert {block for s, block in seen[2] if s == song} == set(range(blocks - quarter, blocks))
        validation = sorted(block for s, block in seen[1] if s == song)
        assert validation == list(range(validation[0], validation[-1] + 1))  # one stretch
    np.testing.assert_allclose(data.rows_to_fit().numpy(), found.features[parts["train"]], rtol=1e-6)


def test_the_test_part_in_time_is_the_same_for_every_split_seed_and_the_validation_is_not(tmp_path: Path) -> None:
    path = make_features(tmp_path / "x.npz")
    one, other = (data_of(path, tmp_path, protocol="honest", split_seed=seed).corpus.splits for seed in (0, 1))
    assert one["test"] == other["test"]
    assert one["val"] != other["val"]


@pytest.mark.parametrize("songs", [3, 8])
def test_with_three_songs_a_genre_every_song_is_in_one_part(songs: int) -> None:
    found = music(songs)
    split = honest(found, 0)
    assert split.protocol == "song"
    seen = [{int(found.song[row]) for row in rows} for rows in split.parts.values()]
    assert len(set.union(*seen)) == sum(map(len, seen))  # none in two parts
    for part in seen:
        assert {song % 2 for song in part} == {0, 1}  # every genre in every part
    assert len(seen[2]) == 2 * max(1, round(songs / 4))
    assert honest(found, 1).parts != split.parts


def test_rows_that_repeat_one_another_are_kept_on_one_side_with_their_other_channels() -> None:
    found = music(2)
    found.features[[3, 15, 19]] = found.features[3]  # of the same song: its end is test
    found.features[25] = found.features[39]  # of the other channel: blocks 5 and 19
    parts = honest(found, 0).parts
    together = {3, 15, 19, 23, 35, 39, 25, 5}
    assert sum(together <= set(rows) for rows in parts.values()) == 1
    seen = [moments(found, rows) for rows in parts.values()]
    assert len(set.union(*seen)) == sum(map(len, seen))
    assert "and were moved there" in honest(found, 0).notes[-1]


def test_the_share_of_known_moments_is_counted() -> None:
    found = music(2, blocks=200)
    told = as_published(found, 0).notes[0]
    # A test row's moment is unknown if its other channel and the four rows beside it are not of the training half.
    assert abs(int(told.split("%")[0].split()[-1]) / 100 - (1 - 0.5**5)) < 0.03


def test_a_mono_file_and_one_in_another_order_are_taken_as_they_are() -> None:
    from speechml.music.feature_files import find_songs_in_rows

    random = np.random.default_rng(0)
    rows = np.concatenate([feature_rows(40, genre, random) for genre in range(3)])
    song, channel, block = find_songs_in_rows(rows, np.repeat([0, 1, 2], 40))
    assert song.tolist() == np.repeat([0, 1, 2], 40).tolist()
    assert not channel.any()
    assert block[:40].tolist() == list(range(40))


def test_rows_with_nan_or_infinite_values_are_left_out_and_counted(tmp_path: Path) -> None:
    with np.load(make_features(tmp_path / "x.npz")) as file:
        rows, labels = file["Xdata"], file["Ydata"]
    rows[5, 3], rows[9, 0] = np.nan, np.inf
    np.savez(tmp_path / "y.npz", Xdata=rows, Ydata=labels)
    data = data_of(tmp_path / "y.npz", tmp_path)
    assert len(data.item_names) == len(rows) - 2
    assert "2 rows with NaN or infinite values are left out, the first is row 5" in data.card().notes


ROWS, LABELS = np.zeros((6, 12)), np.array([0, 0, 1, 1, 2, 2])[:, None]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"Xdata": np.zeros((6, 11)), "Ydata": LABELS}, r"must be \(rows, 12\) and \(rows, 1\)"),
        ({"Xdata": ROWS, "Ydata": np.zeros((6, 3))}, r"must be \(rows, 12\) and \(rows, 1\)"),
        ({"Xdata": ROWS, "Ydata": LABELS[:5]}, r"must be \(rows, 12\) and \(rows, 1\)"),
        ({"Xdata": ROWS, "Ydata": 2 * LABELS}, "holds no rows of 1;"),
        ({"Xdata": ROWS, "Ydata": LABELS * 0}, "holds no rows of a second genre;"),
        ({"Xdata": ROWS, "Ydata": LABELS + 0.5}, "Ydata holds 0.5"),
        ({"Xdata": ROWS, "Ydata": LABELS - 1}, "Ydata holds -1"),
        ({"Xdata": np.full((6, 12), np.nan), "Ydata": LABELS}, "no row without NaN"),
        ({"Xdata": ROWS.astype(object), "Ydata": LABELS}, "holds Python objects"),
        ({"Xdata": ROWS.astype(str), "Ydata": LABELS}, "both must be real numbers"),
        ({"Xdata": ROWS.astype(complex), "Ydata": LABELS}, "both must be real numbers"),
        ({"features": ROWS}, "lacks Xdata or Ydata; it has features"),
        ({"Xdata": np.zeros((0, 12)), "Ydata": np.zeros((0, 1))}, r"must be \(rows, 12\) and \(rows, 1\)"),
    ],
)
def test_a_file_of_another_content_is_refused_in_a_sentence(content: dict[str, Any], says: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **content)
    with pytest.raises(UserError, match=says) as error:
        _ = data_of(tmp_path / "x.npz", tmp_path).corpus
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda _: b"rubbish", lambda _: b"", lambda b: b[:100] + b"x" * 900 + b[1000:]])  # fmt: skip  # noqa: E501
def test_a_damaged_file_is_refused(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = make_features(tmp_path / "x.npz")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=r"x.npz"):
        _ = data_of(path, tmp_path).corpus


def test_a_place_that_is_neither_folder_nor_npz_is_refused(tmp_path: Path) -> None:
    for name in ("nowhere", "nowhere.npz"):
        with pytest.raises(UserError, match=r"is no folder of music and no \.npz"):
            _ = data_of(tmp_path / name, tmp_path).corpus


def test_a_song_without_rows_changes_no_part_of_the_others() -> None:
    found = music(2)
    later = found._replace(song=found.song + 1, songs=["unreadable", *found.songs])
    assert honest(found, 3).parts == honest(later, 3).parts


@pytest.mark.parametrize("value", [1e200, -1e200, 1e7, 1e20, 3e38])
@pytest.mark.parametrize("column", [0, 5, 11])
def test_a_feature_that_cannot_be_is_refused_with_its_row(value: float, column: int, tmp_path: Path) -> None:
    path = make_features(tmp_path / "features.npz")
    with np.load(path) as file:
        arrays = dict(file)
    arrays["Xdata"][17, column] = value
    np.savez(path, **arrays)
    if (column, value) == (11, 1e7):  # energies may be so unequal
        assert len(read_music(path, tmp_path).label) == len(arrays["Ydata"])
        return
    with pytest.raises(UserError, match=r"row 17 of Xdata has"):
        read_music(path, tmp_path)


def reorder(path: Path, order: str) -> Path:
    """Rows of a file shuffled or sorted, beside it."""
    random = np.random.default_rng(0)
    with np.load(path) as file:
        rows, label = file["Xdata"], file["Ydata"]
    by_class = [np.flatnonzero(label[:, 0] == genre) for genre in range(3)]
    places = {
        "shuffled": lambda: random.permutation(len(rows)),
        "shuffled within classes": lambda: np.concatenate([random.permutation(of) for of in by_class]),
        "one class shuffled": lambda: np.concatenate([by_class[0], random.permutation(by_class[1]), by_class[2]]),
        "sorted by level": lambda: np.lexsort((rows[:, 5], label[:, 0])),
        "pairs shuffled": lambda: (2 * random.permutation(len(rows) // 2)[:, None] + [0, 1]).reshape(-1),
    }[order]()
    np.savez(path.with_name("rows.npz"), Xdata=rows[places], Ydata=label[places])
    return path.with_name("rows.npz")


ORDERS = ["shuffled", "shuffled within classes", "one class shuffled", "sorted by level", "pairs shuffled"]


@pytest.mark.parametrize("order", ORDERS)
def test_songs_of_rows_in_another_order_are_unknown_and_no_split_is_called_honest(order: str, tmp_path: Path) -> None:
    root = reorder(make_features(tmp_path / "f.npz", (300, 280, 150, 140)), order)
    keys = {"root": str(root), "batch_size": 8, "split_seed": 0, "cache": str(tmp_path)}
    data = GenreFeatures(**keys)
    assert [note for note in data.card().notes if note.startswith("songs unknown")]
    assert not any("told apart by" in note or "every song" in note for note in data.card().notes)
    findings = {finding.check: finding.state for finding in audit_data(data).findings}
    assert findings["songs"] == "unknown"
    assert "moments" not in findings
    with pytest.raises(UserError, match="songs unknown"):
        GenreFeatures(**keys, protocol="honest").card()


def test_rows_of_unknown_songs_are_named_by_their_place_in_the_file(tmp_path: Path) -> None:
    path = reorder(make_features(tmp_path / "f.npz"), "shuffled")
    with np.load(path) as file:
        rows, label = file["Xdata"], file["Ydata"]
    rows[3, 0] = np.nan
    np.savez(path, Xdata=rows, Ydata=label)
    data = data_of(path, tmp_path)
    assert data.item_names == [f"row{i}" for i in range(len(rows)) if i != 3]
    assert "1 rows with NaN or infinite values are left out, the first is row 3" in data.card().notes


def test_the_line_that_converts_a_file_is_one_word_of_a_shell_whatever_its_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "mary's.npz", X=ROWS, y=LABELS)
    code = shlex.split(conversion(tmp_path / "mary's.npz").removeprefix("convert it: "))[-1]
    assert f'np.load("{tmp_path}/mary\'s.npz")' in code


def test_songs_of_rows_in_time_are_known(tmp_path: Path) -> None:
    root = make_features(tmp_path / "f.npz", (300, 280, 150, 140))
    data = GenreFeatures(root=str(root), batch_size=8, split_seed=0, cache=str(tmp_path), protocol="honest")
    assert data.card().protocol == "time"
    assert "4 songs were told apart by the order of the rows; 4 of them in two channels" in data.card().notes


@pytest.mark.parametrize("form", ["X and y", "one column a class", "flat labels"])
def test_the_line_that_converts_other_names_of_arrays_is_printed_and_works(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with np.load(make_features(tmp_path / "f.npz")) as file:
        rows, label = file["Xdata"], file["Ydata"]
    labels = {"X and y": label, "one column a class": np.eye(3)[label[:, 0]], "flat labels": label[:, 0]}[form]
    np.savez(tmp_path / "other.npz", X=rows, y=labels)
    with pytest.raises(UserError, match="convert it: python -c ") as refused:
        data_of(tmp_path / "other.npz", tmp_path).card()
    line = str(refused.value).partition("python -c '")[2].rpartition("'")[0]
    exec(line, {})
    assert data_of(tmp_path / "rows.npz", tmp_path).corpus.labels.tolist() == label[:, 0].tolist()
