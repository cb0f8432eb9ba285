"""The keys of networks."""

from __future__ import annotations

from typing import Literal

from speechml.config.schema import Schema, key
from speechml.lazy import import_on_use

# Far beyond all use: a file from elsewhere may name any number, and a network of it is to be refused, not built for hours.
LONGEST = 1_000_000  # samples of a filter or a record
WIDEST = 10_000  # channels, units
MOST_BINS = 2**15 + 1


class FIR(Schema):
    """One FIR filter."""

    taps: int = key("length of the filter: a longer one tells closer frequencies apart, and has more to learn", 81,
                    unit="samples", least=1, most=LONGEST)  # fmt: skip


class CNN(Schema):
    """Filters one after the other, tanh between them."""

    taps: list[int] = key("length of the filters: longer ones tell closer frequencies apart, and have more to learn", [40, 40],
                          unit="samples, a layer each", least=1, most=LONGEST)  # fmt: skip


class MIMOCNN(CNN):
    """Layers of filters with several features between them."""

    features: list[int] = key("how many filtered versions of the signal there are between two layers: more can learn more, "
        "and cost time", [1, 5, 1], unit="signals in, between the layers, out", least=1, most=WIDEST,
        allowed="one more than net.taps, 1 at both ends")  # fmt: skip


class FCNN(Schema):
    """A fully connected network on whole records."""

    samples: int = key("length of a record: a fully connected network takes one length only", 32000, unit="samples", above=0,
                       most=LONGEST)  # fmt: skip
    hidden: int = key("units between input and output", 100, unit="units", above=0, most=LONGEST)


class MLP(Schema):
    """A few layers of units on rows of features."""

    layers: int = key("depth of the network; more can learn more, and overfit more", 2, unit="hidden layers", least=0,
                      most=1000)  # fmt: skip
    units: int | list[int] | dict[str, int] = key("width of every hidden layer, or one number for each, in a list or by a name; "
                                                  "more can learn more, and overfit more", 16, unit="units", least=1,
                                                  most=WIDEST)  # fmt: skip
    activation: Literal["tanh", "relu", "bump"] = key("what bends the output of a unit; bump, exp(-x^2), answers only near "
                                                      "what it has learned", "tanh")  # fmt: skip
    dropout: float = key("what a training step leaves out at random; more reduces overfitting, too much hinders learning",
                         0.0, unit="share", least=0, most=1)  # fmt: skip


class M5(Schema):
    """Four convolutions of the waveform."""

    width: int = key("channels of the first two convolutions, the last has four times as many; doubled, it takes four times as "
                     "long", 128, unit="channels", least=1, most=WIDEST)  # fmt: skip
    kernel: int = key("length of the first filters: longer ones tell closer frequencies apart", 160, unit="samples", least=1,
                      most=LONGEST)  # fmt: skip
    stride: int = key("distance of two of their outputs: a larger one is faster, and hears less of high frequencies", 8,
                      unit="samples", least=1, most=LONGEST)  # fmt: skip


# Few runs need these.
__getattr__ = import_on_use(__name__, dict.fromkeys(
    ("STFTCNN1d", "STFTCNN2d", "STFTTCN", "SpectrogramCNN", "SpectrogramResNet"), "speechml.models.spectrogram_schema"
))  # fmt: skip
