"""Which rows of features train, validate and test: as DDASP exercise 12 published it, or so that nothing is known twice."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from speechml.contracts import SPLITS
from speechml.errors import UserError
from speechml.music.recordings import Music
from speechml.signal.random import key, permutation, uniform

SHARES = (0.25, 0.25)  # of validation and test: the exercise's 50/25/25
VALIDATION = 0.2  # of the rest in time, where the last quarter of each song is test


class Split(NamedTuple):
    """Rows of each split, how they were divided, and what a reader of the scores should know."""

    parts: dict[str, list[int]]
    protocol: str
    notes: list[str]


def as_published(music: Music, split_seed: int) -> Split:
    """Rows at random, 50/25/25, whatever song, channel or moment they are of."""
    part = np.zeros(len(music.label), np.int64)
    val, test = draw(np.arange(len(part)), key("split", split_seed))
    part[val], part[test] = 1, 2
    known = "moments of a test row may be in the training split"
    if music.songs:
        known = (
            f"{share_known(music, part):.0%} of the test rows have the same moment's other channel or the block beside it in "
            "the training split"
        )
    leaks = f"as published, so these figures flatter: all rows, of the test too, normalise the features, and {known}"
    return Split(rows_by_split(part), "as_published", [leaks])


def draw(items: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Those of some items, drawn at random, that validate, and those that test: a quarter each, one at least."""
    order = items[permutation(seed, len(items)).numpy()]
    val, test = (max(1, round(len(order) * share)) for share in SHARES)
    return order[:val], order[val : val + test]


def share_known(music: Music, part: np.ndarray) -> float:
    """Share of test rows of which training holds the other channel or a neighbour in time."""
    moment = music.song * (music.block.max() + 2) + music.block
    near = np.unique(np.concatenate([moment[part == 0] + step for step in (-1, 0, 1)]))
    return float(np.isin(moment[part == 2], near).mean())


def honest(music: Music, split_seed: int) -> Split:
    """By song where every genre has three songs, else the last quarter of each song in time is test.

    Both channels of a moment, and rows that repeat one another, are in one split.

    Raises:
        UserError: the songs are not known.
    """
    if not music.songs:
        why = next((note for note in music.notes if note.startswith("songs unknown")), "songs unknown")
        fix = "give rows as the exercise makes them, a folder of music, or data.protocol=as_published"
        raise UserError("data.protocol=honest keeps songs or moments apart, which these rows do not tell", why, fix)
    songs = [np.unique(music.song[music.label == genre]) for genre in range(len(music.genres))]
    if min(map(len, songs)) >= 3:
        part, protocol, note = by_song(music, songs, split_seed), "song", "every song is in one split only"
    else:
        part, protocol = by_time(music, split_seed), "time"
        note = "too few songs to divide by: the last quarter of each song is test, so every song is known from training"
    moved = keep_together(music, part)
    if moved:
        note += f", but for {moved} rows, which repeat a row of another split, or are of such a moment, and were moved there"
    return Split(rows_by_split(part), protocol, [note])


def by_song(music: Music, songs: list[np.ndarray], split_seed: int) -> np.ndarray:
    """Part of each row: of the songs of each genre, given apart, a quarter validates and a quarter tests."""
    part = np.zeros(len(music.label), np.int64)
    for genre, of_genre in enumerate(songs):
        val, test = draw(of_genre, key("songs", split_seed, genre))
        part[np.isin(music.song, val)] = 1
        part[np.isin(music.song, test)] = 2
    return part


def by_time(music: Music, split_seed: int) -> np.ndarray:
    """Part of each row: the last quarter of each song is test, one stretch of the rest, at a random place, validates."""
    part = np.zeros(len(music.label), np.int64)
    for number, song in enumerate(np.unique(music.song)):
        rows = music.song == song
        blocks = np.unique(music.block[rows])  # those that are there: silent ones are left out
        rest = len(blocks) - max(1, round(len(blocks) * SHARES[1]))
        length = max(1, round(rest * VALIDATION))
        chance = float(uniform(key("validation", split_seed), torch.tensor([number]), 1)[0, 0])
        first = int(chance * (rest - length + 1))
        part[rows & np.isin(music.block, blocks[first : first + length])] = 1
        part[rows & np.isin(music.block, blocks[rest:])] = 2
    return part


def keep_together(music: Music, part: np.ndarray) -> int:
    """Give rows that repeat one another, and both channels of a moment, one part: the first of theirs in the order of SPLITS.

    Returns how many rows changed.
    """
    before = part.copy()
    moments = np.stack([music.song, music.block], axis=1)
    groups = [np.unique(of, axis=0, return_inverse=True)[1].reshape(-1) for of in (music.features, moments)]
    while True:  # a row that moves takes its other channel along, and that those that repeat it
        last = part.copy()
        for group in groups:
            first = np.full(group.max() + 1, len(SPLITS))
            np.minimum.at(first, group, part)
            part[:] = first[group]
        if np.array_equal(part, last):
            return int((part != before).sum())


def rows_by_split(part: np.ndarray) -> dict[str, list[int]]:
    """Rows of each split by its name."""
    return {name: np.nonzero(part == number)[0].tolist() for number, name in enumerate(SPLITS)}
