"""Trained models put to use: denoise, classify, export, verify."""
