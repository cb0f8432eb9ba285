"""The configuration: what keys there are, how a config is composed, checked and turned into objects."""
