"""Runs that are trained together: their networks as one stack of weights, each equal, bit for bit, to itself alone."""
