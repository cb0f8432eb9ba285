"""Scores of waveforms and of classes."""
