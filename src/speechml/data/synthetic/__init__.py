"""Corpora spoken by espeak-ng's voices: stand-ins where no recordings are given."""
