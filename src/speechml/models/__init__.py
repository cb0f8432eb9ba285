"""Networks: modules only, shapes in their docstrings; no data, no training."""

from speechml.models.cnn import CNN, MIMOCNN
from speechml.models.fcnn import FCNN
from speechml.models.fir import FIR
from speechml.models.mlp import MLP
from speechml.models.spectrogram_cnn import SpectrogramCNN, SpectrogramResNet
from speechml.models.stft_cnn import STFTCNN1d, STFTCNN2d

__all__ = ["CNN", "FCNN", "FIR", "MIMOCNN", "MLP", "STFTCNN1d", "STFTCNN2d", "SpectrogramCNN", "SpectrogramResNet"]
