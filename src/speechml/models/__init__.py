"""Networks: modules only, shapes in their docstrings; no data, no training."""

from speechml.models.cnn import CNN, MIMOCNN
from speechml.models.fcnn import FCNN
from speechml.models.fir import FIR

__all__ = ["CNN", "FCNN", "FIR", "MIMOCNN"]
