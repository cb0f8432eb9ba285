"""Searches over hyperparameters: what is tried, by whom, and what is kept of it."""
