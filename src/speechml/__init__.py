"""Experiments in speech and audio learning."""

__version__ = "0.1.0"
