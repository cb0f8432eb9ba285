"""A run on disk: its identity, its folder, its card, its checkpoints."""
