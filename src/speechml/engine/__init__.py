"""The training of one run: from its config to its scores."""
