"""Data modules and the corpora they read."""
