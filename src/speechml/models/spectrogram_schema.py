"""The keys of networks on spectrograms; loaded by runs with one only."""

from __future__ import annotations

from typing import Literal

from speechml.config.schema import Schema, key
from speechml.models.schema import MOST_BINS, WIDEST


class SpectrogramCNN(Schema):
    """The convnet of the R torch book."""

    channels: Literal[1, 2] = key(
        "channels of the spectrogram: 2 where front_end.kind=complex, else 1", 1, unit="channels"
    )


class SpectrogramResNet(SpectrogramCNN):
    """A small residual network."""

    bins: int = key(
        "rows of a spectrum, as the model's transform or mel bands give", 64, unit="bins", above=0, most=MOST_BINS
    )
    width: int = key("channels of the first block, the last has three times as many; doubled, it takes about four times as long",
                     48, unit="channels", least=2, most=WIDEST)  # fmt: skip
    dropout: float = key("what a training step leaves out at random; more reduces overfitting, too much hinders learning",
                         0.2, unit="share", least=0, most=1)  # fmt: skip


class _STFTNetwork(Schema):
    """Magnitudes in, clean ones out."""

    bins: int = key(
        "rows of a spectrum, as the model's transform or mel bands give", 513, unit="bins", above=0, most=MOST_BINS
    )
    activation: Literal["relu", "leaky_relu", "elu", "gelu", "softplus", "tanh"] = key(
        "what bends the output of each convolution; without it all layers would be one", "relu")  # fmt: skip
    output: Literal["relu", "softplus", "mask"] = key("relu, softplus: the network gives magnitudes; mask: a factor from 0 to 1 "
                                                      "for each bin of the noisy frame", "softplus")  # fmt: skip
    inputs: Literal["magnitude", "log"] = key("what the network sees: magnitudes, or their logarithms, normalised by bin, "
                                              "where soft sounds count as well", "magnitude")  # fmt: skip
    batch_norm: bool = key("true normalises after each convolution: often steadier, with larger learning rates", False)
    dropout: float = key("what a training step leaves out at random; more reduces overfitting, too much hinders learning",
                         0.0, unit="share", least=0, most=1)  # fmt: skip


class STFTCNN1d(_STFTNetwork):
    """Single frames of magnitudes in, clean ones out."""

    channels: list[int] = key("maps that each convolution gives; more can learn more, and cost time; their number is the "
                              "number of layers", [16, 32], unit="channels, a layer each", least=1, most=WIDEST)  # fmt: skip
    kernels: list[int] = key("reach of each convolution: larger ones see more neighbouring frequencies, and have more to "
                             "learn", [16, 8], unit="bins, a layer each", least=1, most=WIDEST)  # fmt: skip
    strides: list[int] = key("steps of each convolution: larger ones make the maps smaller and the network faster", [4, 3],
                             unit="bins, a layer each", least=1, most=WIDEST)  # fmt: skip
    pooling: list[int] = key("windows of max pooling after each convolution; 1: none", [1, 1], unit="bins, a layer each",
                             least=1, most=WIDEST)  # fmt: skip


class STFTCNN2d(_STFTNetwork):
    """Windows of frames in, the last one cleaned."""

    frames: int = key("frames of a window, the last of which is cleaned; more frames show more of what went before", 20,
                      unit="frames", least=1, most=1000)  # fmt: skip
    channels: list[int] = key("maps that each convolution gives; more can learn more, and cost time; their number is the "
                              "number of layers", [16, 32, 32], unit="channels, a layer each", least=1, most=WIDEST)  # fmt: skip
    kernels: list[list[int]] = key("reach of each convolution: larger ones see more around a point, and have more to learn",
        [[4, 5], [3, 5], [2, 5]], unit="frames x bins, a layer each", least=1, most=WIDEST)  # fmt: skip
    strides: list[list[int]] = key("steps of each convolution: larger ones make the maps smaller and the network faster",
        [[2, 2], [2, 2], [1, 2]], unit="frames x bins, a layer each", least=1, most=WIDEST)  # fmt: skip
    pooling: list[list[int]] = key("windows of max pooling after each convolution; [1, 1]: none", [[1, 1], [1, 1], [1, 1]],
                                   unit="frames x bins, a layer each", least=1, most=WIDEST)  # fmt: skip


class STFTTCN(Schema):
    """Windows of frames in, the last one masked; convolutions along time only."""

    bins: int = key(
        "rows of a spectrum, as the model's transform or mel bands give", 513, unit="bins", above=0, most=MOST_BINS
    )
    channels: int = key("width of the blocks; more can learn more; doubled, it takes about four times as long", 192,
                        unit="channels", least=1, most=WIDEST)  # fmt: skip
    kernel: int = key("frames that each convolution sees; more look further back, and have more to learn", 3, unit="frames",
                      least=1, most=1000)  # fmt: skip
    dilations: list[int] = key("distance of these frames, block by block; larger ones look further back at no cost; their "
                               "number is the number of blocks", [1, 2, 4, 8], unit="frames, a block each",
                               least=1, most=1000)  # fmt: skip
