"""What a key of the config is, what it may be, and why it has the value it has."""
