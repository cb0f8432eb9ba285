"""Networks: modules only, shapes in their docstrings; no data, no training; each loaded when a config names it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from speechml.lazy import import_on_use

if TYPE_CHECKING:
    from speechml.models.m5 import M5 as M5
    from speechml.models.mlp import MLP as MLP
    from speechml.models.spectrogram_cnn import SpectrogramCNN as SpectrogramCNN
    from speechml.models.spectrogram_cnn import SpectrogramResNet as SpectrogramResNet
    from speechml.models.stft_cnn import STFTCNN1d as STFTCNN1d
    from speechml.models.stft_cnn import STFTCNN2d as STFTCNN2d
    from speechml.models.stft_network import STFTNetwork as STFTNetwork
    from speechml.models.stft_tcn import STFTTCN as STFTTCN
    from speechml.models.waveform import CNN as CNN
    from speechml.models.waveform import FCNN as FCNN
    from speechml.models.waveform import FIR as FIR
    from speechml.models.waveform import MIMOCNN as MIMOCNN

# The names that configs build, and where each lies.
PLACES = {
    "CNN": "speechml.models.waveform",
    "FCNN": "speechml.models.waveform",
    "FIR": "speechml.models.waveform",
    "M5": "speechml.models.m5",
    "MIMOCNN": "speechml.models.waveform",
    "MLP": "speechml.models.mlp",
    "STFTCNN1d": "speechml.models.stft_cnn",
    "STFTCNN2d": "speechml.models.stft_cnn",
    "STFTTCN": "speechml.models.stft_tcn",
    "SpectrogramCNN": "speechml.models.spectrogram_cnn",
    "SpectrogramResNet": "speechml.models.spectrogram_cnn",
}
__all__ = [*PLACES, "STFTNetwork"]  # the last to inherit from, and built by no config
__getattr__ = import_on_use(__name__, PLACES | {"STFTNetwork": "speechml.models.stft_network"})
