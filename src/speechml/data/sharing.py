"""Data modules that differ in nothing that decides what is read."""

from __future__ import annotations

from speechml.data.base import BaseDataModule, Corpus


def share_corpus(data: BaseDataModule[Corpus], like: BaseDataModule[Corpus]) -> None:
    """Use what another module has read, and what was computed of it, that differs in `seed` and `batch_size` alone."""
    vars(data).update(corpus=like.corpus, _card=like.card(), derived=like.derived)
