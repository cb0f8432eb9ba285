"""Files of hand-made features: a .npz in the format of DDASP exercise 12, with songs and channels found in the order of rows."""

from __future__ import annotations

import json
import shlex
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np

from speechml.errors import UserError
from speechml.music.features import COLUMNS
from speechml.music.recordings import BLOCK_S, Music, extract, genre_names

# Rows run song by song, within a song channel by channel, within a channel in time. Left and right of the published
# file correlate by 0.993 and more; stretches of different music stay below 0.7.
ALIKE = 0.9
LARGEST = 1e6  # of levels, in dB or times full scale
LARGEST_RATIO = 1e15  # of energies: ours end at 1e12
SHORTEST = 8  # rows of a channel, below which a correlation says nothing
# Mean squared distance of rows to others of their class, in units of what it is for rows at random. Next to each other it is
# 0.2 in the published file, and 0.4 at SHORTEST rows.
UNLIKE = 0.85
SORTED = 0.95  # share of steps of a feature in one direction


def read_music(root: Path, cache: Path) -> Music:
    """The rows of a folder of music, extracted once, or of a .npz file.

    Raises:
        UserError: neither, or a file with other content than that, or a genre without rows.
    """
    if root.is_dir():
        music = extract(root, cache)
    elif root.suffix == ".npz" and root.is_file():
        state = root.stat()
        music = _read_file(root, state.st_size, state.st_mtime_ns)
    else:
        raise UserError(
            f"{root} is no folder of music and no .npz file of features", fix="give data.root=FOLDER or FILE.npz"
        )
    absent = [genre for number, genre in enumerate(music.genres) if number not in music.label]
    if absent or len(music.genres) < 2:
        silent = f"silent files and those shorter than {BLOCK_S} s give none"
        why = "; ".join([silent, *music.notes]) if root.is_dir() else ""
        genre = absent[0] if absent else "a second genre"
        raise UserError(f"{root} holds no rows of {genre}", why, "a class without rows cannot be learned")
    return music


@lru_cache(maxsize=2)
def _read_file(root: Path, size: int, modified: int) -> Music:  # noqa: ARG001 (another size or time is another file)
    """The rows of a .npz file, kept for the next trial of a search."""
    features, label = read_arrays(root)
    good = np.isfinite(features).all(axis=1)
    if not good.any():
        raise UserError(f"{root} holds no row without NaN or infinite values; extract its features again")
    first = int(np.argmin(good))
    notes = (
        []
        if good.all()
        else [f"{(~good).sum()} rows with NaN or infinite values are left out, the first is row {first}"]
    )
    _check_size(root, np.where(good[:, None], features, 0.0))
    if not is_in_time(features, label):
        notes.append(
            "songs unknown: rows do not follow one another as in time, so neither songs nor channels can be told apart"
        )
        block, genres = np.flatnonzero(good), genre_names(int(label.max()) + 1)
        return Music(features[good], label[good], 0 * block, 0 * block, block, [], genres, notes)
    song, channel, block = find_songs_in_rows(features, label)
    count = int(song.max()) + 1
    if count > 1:
        stereo = len(np.unique(song[channel == 1]))
        notes.append(f"{count} songs were told apart by the order of the rows; {stereo} of them in two channels")
    rows = (features[good], label[good], song[good], channel[good], block[good])
    return Music(*rows, [f"song{i}" for i in range(count)], genre_names(int(label.max()) + 1), notes)


def _check_size(path: Path, features: np.ndarray) -> None:
    """Raises UserError, naming the place, where a value can be no feature: what float32 cannot square is no number later."""
    most = np.full(len(COLUMNS), LARGEST)
    most[COLUMNS.index("low_high_ratio")] = LARGEST_RATIO
    for row, column in np.argwhere(np.abs(features) > most)[:1]:
        what = f"{path}: row {row} of Xdata has {features[row, column]:.3g} for {COLUMNS[column]}"
        raise UserError(
            what, f"{most[column]:g} is the most that can be", "extract its features again, or leave the row out"
        )


def read_arrays(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Features (rows, 12) float64 and labels (rows,) int64 of a .npz file, read without objects.

    Raises:
        UserError: the file is something else.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files if name in ("Xdata", "Ydata")}
            names = ", ".join(file.files)
    except Exception as error:  # a damaged header is parsed as Python, and fails in any way that Python can
        fix = "save plain arrays of numbers" if "allow_pickle" in str(error) else "make it again"
        why = "it holds Python objects" if "allow_pickle" in str(error) else type(error).__name__
        raise UserError(f"{path} cannot be read as a .npz file", why, fix) from error
    if len(arrays) < 2:
        raise UserError(f"{path} lacks Xdata or Ydata; it has {names or 'nothing'}", fix=conversion(path))
    features, label = arrays["Xdata"], arrays["Ydata"].reshape(-1)
    if features.shape != (len(label), len(COLUMNS)) or not len(label):
        shapes = f"Xdata is {features.shape} and Ydata {arrays['Ydata'].shape}"
        raise UserError(f"{path}: {shapes}; they must be (rows, {len(COLUMNS)}) and (rows, 1)")
    if features.dtype.kind not in "fiu" or label.dtype.kind not in "fiu":
        raise UserError(f"{path}: Xdata is of {features.dtype} and Ydata of {label.dtype}; both must be real numbers")
    is_label = np.isin(label, np.arange(256))
    if not is_label.all():
        raise UserError(f"{path}: Ydata holds {label[~is_label][0]}; labels are the numbers 0, 1, 2 ...")
    return features.astype(np.float64), label.astype(np.int64)


def conversion(path: Path) -> str:
    """The line that gives a file's arrays the names of the exercise, or nothing where they are not told by their shapes."""
    try:
        with np.load(path, allow_pickle=False) as file:
            shapes = {name: file[name].shape for name in file.files}
    except Exception:  # arrays of objects, or damaged ones
        return ""
    rows = [name for name, shape in shapes.items() if len(shape) == 2 and shape[1] == len(COLUMNS)]
    if len(rows) != 1 or len(shapes) != 2:
        return ""
    (labels,) = shapes.keys() - rows
    shape, tail = shapes[labels], ""
    if shape[:1] != shapes[rows[0]][:1] or len(shape) > 2:
        return ""
    if len(shape) == 2 and shape[1] > 1:
        tail = ".argmax(1)"  # one column a class
    names = (json.dumps(text) for text in (str(path), "rows.npz", rows[0], labels))
    line = "import numpy as np; z = np.load({}); np.savez({}, Xdata=z[{}], Ydata=z[{}]".format(*names)
    return f"convert it: python -c {shlex.quote(f'{line}{tail})')}"


def is_in_time(features: np.ndarray, label: np.ndarray) -> bool:
    """Whether rows of each class follow one another as blocks of music do, neither shuffled nor sorted by a feature.

    Shape: features (rows, 12), label (rows,).
    """
    usable = np.nan_to_num(features, nan=0.0, posinf=0.0, neginf=0.0)
    ranks = np.argsort(np.argsort(usable, axis=0, kind="stable"), axis=0, kind="stable").astype(float)
    for genre in np.unique(label):
        near = _distances(ranks, label, genre, 1)
        rows = usable[label == genre]
        steps = np.diff(rows[:, rows.std(0) > 0], axis=0)
        if near is None or not steps.size:  # of what does not change nothing can be told
            return False
        if near.mean() > UNLIKE or max((steps >= 0).mean(0).max(), (steps <= 0).mean(0).max()) > SORTED:
            return False
        far = _distances(ranks, label, genre, SHORTEST)  # chunks of rows may have been shuffled
        if far is not None and (label == genre).sum() > 50 * SHORTEST and far.mean() > 0.95:
            return False
    return True


def _distances(ranks: np.ndarray, label: np.ndarray, genre: int, steps: int) -> np.ndarray | None:
    """How far rows of a genre are from those some steps later, see UNLIKE; None where there are none. Shape: (column,)."""
    both = (label[steps:] == genre) & (label[:-steps] == genre)
    spread = 2 * ranks[label == genre].var(0)
    if not both.any() or not (spread > 0).any():
        return None
    apart = ((ranks[steps:] - ranks[:-steps])[both] ** 2).mean(0)
    return np.asarray(apart[spread > 0] / spread[spread > 0])


def find_songs_in_rows(features: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Song, channel and block of each row, from the order of rows and from how alike the channels of a song are.

    Shape: features (rows, 12), label (rows,) -> (rows,) three times.
    """
    song, channel, block = (np.zeros(len(label), np.int64) for _ in range(3))
    usable = np.nan_to_num(features, nan=0.0, posinf=0.0, neginf=0.0)
    spread = usable.std(0)
    scaled = (usable - usable.mean(0)) / np.where(spread > 0, spread, 1.0)
    begins = [0, *(np.nonzero(np.diff(label))[0] + 1).tolist(), len(label)]
    number = 0
    for begin, end in pairwise(begins):  # rows of one class in a row
        while begin < end:
            length = channel_length(scaled[begin:end])
            both = 2 * length if length else end - begin
            song[begin : begin + both] = number
            if length:
                channel[begin + length : begin + both] = 1
            block[begin : begin + both] = np.arange(both) % (length or both)
            begin, number = begin + both, number + 1
    return song, channel, block


def channel_length(rows: np.ndarray) -> int:
    """Rows of the first channel of the first song, if a second, similar channel follows; 0 if none does.

    Shape: rows (rows, 12), every column of mean 0 and standard deviation 1 over the whole file.
    """
    best, chosen = ALIKE, 0
    for length in range(SHORTEST, len(rows) // 2 + 1):
        left, right = rows[:length], rows[length : 2 * length]
        left, right = left - left.mean(0), right - right.mean(0)
        scale = float(np.sqrt((left**2).sum() * (right**2).sum()))
        alike = float((left * right).sum()) / scale if scale else 0.0
        if alike > best:
            best, chosen = alike, length
    return chosen
