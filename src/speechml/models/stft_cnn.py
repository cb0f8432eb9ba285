"""Strided CNNs from windows of STFT magnitudes to the clean magnitudes of their last frame (ENGR-E 533, homework 2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechml.errors import choose
from speechml.models.stft_network import STFTNetwork

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "leaky_relu": lambda x: F.leaky_relu(x, 0.1),
    "elu": F.elu,
    "gelu": F.gelu,
    "softplus": F.softplus,
    "tanh": torch.tanh,
}
INPUTS = {"magnitude": False, "log": True}  # whether logarithms are taken
# From the linear layer and the last noisy frame to magnitudes.
OUTPUTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "relu": lambda x, _: F.relu(x),
    "softplus": lambda x, _: F.softplus(x),
    "mask": lambda x, last: torch.sigmoid(x) * last,
}

Pair = tuple[int, int]  # along time (frames), along frequency (bins)


class Layer(NamedTuple):
    """A convolution and the max pooling after it."""

    kernel: Pair
    stride: Pair
    pool: Pair


class STFTCNN2d(STFTNetwork):
    """Windows of frames to the clean spectrum of each window's last frame.

    Convolutions without padding, each followed by an activation and, if wanted, max pooling; then one linear layer from
    the flattened map to the bins. Where kernels and strides do not use up a window, its oldest frames are left out, so
    that the last one, which is to be cleaned, is always seen.

    Args:
        bins: of the spectrum, n_fft // 2 + 1.
        frames: of a window.
        channels: of each convolution's output.
        kernels, strides: of each convolution, [frames, bins].
        pooling: window of max pooling after each convolution, [frames, bins]; [1, 1] for none.
        activation: after each convolution: relu, leaky_relu, elu, gelu, softplus or tanh.
        output: relu, softplus (both give magnitudes) or mask (a sigmoid times the last noisy frame).
        inputs: `magnitude` as they are, or `log`: logarithms less each bin's mean, over their deviation (`fit_inputs`).
        batch_norm: normalise after each convolution.
        dropout: share of the flattened map left out in training.

    Shape: (batch, 1, frames, bins) -> (batch, bins), magnitudes. ValueError for a map that shrinks below 1.
    """

    def __init__(
        self, bins: int = 513, frames: int = 20, channels: Sequence[int] = (16, 32, 32),
        kernels: Sequence[Sequence[int]] = ((4, 5), (3, 5), (2, 5)),
        strides: Sequence[Sequence[int]] = ((2, 2), (2, 2), (1, 2)),
        pooling: Sequence[Sequence[int]] = ((1, 1), (1, 1), (1, 1)), activation: str = "relu", output: str = "softplus",
        inputs: str = "magnitude", batch_norm: bool = False, dropout: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(bins, frames)
        for name, given in (("kernels", kernels), ("strides", strides), ("pooling", pooling)):
            if len(given) != len(channels):
                raise ValueError(
                    f"channels names {len(channels)} layers and {name} {len(given)}; give an entry for every layer"
                )
            if any(len(pair) != 2 for pair in given):
                raise ValueError(f"{name} is {given}; each layer's must be [frames, bins]")
        self.takes_logs = choose("inputs", inputs, INPUTS)
        self.activation = choose("activation", activation, ACTIVATIONS)
        self.output = choose("output", output, OUTPUTS)
        self.layers = [
            Layer((k[0], k[1]), (s[0], s[1]), (p[0], p[1])) for k, s, p in zip(kernels, strides, pooling, strict=True)
        ]
        self.trims: list[Pair] = []  # rows left out before each convolution and before its pooling
        heights, widths = self._sizes()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, layer.kernel)
            for before, after, layer in zip([1, *channels[:-1]], channels, self.layers, strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(c) if batch_norm else nn.Identity() for c in channels)
        self.map = (channels[-1] if channels else 1, heights, widths)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(self.map[0] * heights * widths, bins)

    def _sizes(self) -> Pair:
        """Height and width of the last map; notes the rows that no kernel reaches.

        Raises:
            ValueError: some map has no row or no column left; the layer is named.
        """
        height, width = self.frames, self.bins
        for number, (kernel, stride, pool) in enumerate(self.layers, 1):
            before = (height, width)
            height, oldest = _steps(height, kernel[0], stride[0])
            width, _ = _steps(width, kernel[1], stride[1])
            height, oldest_pooled = _steps(height, pool[0], pool[0])
            width, _ = _steps(width, pool[1], pool[1])
            if min(height, width) < 1:
                raise ValueError(
                    f"layer {number} of {len(self.layers)} (kernel {_of(kernel)}, stride {_of(stride)}, pooling {_of(pool)}) "
                    f"leaves nothing of its {_of(before)} map (frames x bins); use smaller strides or fewer layers"
                )
            self.trims.append((oldest, oldest_pooled))
        return height, width

    @property
    def receptive_field(self) -> Pair:
        """Frames and bins behind one element of the last map."""
        field, step = [1, 1], [1, 1]
        for kernel, stride, pool in self.layers:
            for axis in (0, 1):
                field[axis] += (kernel[axis] - 1 + (pool[axis] - 1) * stride[axis]) * step[axis]
                step[axis] *= stride[axis] * pool[axis]
        return field[0], field[1]

    def describe(self) -> str:
        """Say in one sentence what goes in, what a map element sees, how many parameters there are."""
        return (
            f"{type(self).__name__}: windows of {self.frames} x {self.bins} (frames x bins), last map "
            f"{self.map[0]} x {self.map[1]} x {self.map[2]} (channels x frames x bins), of which each element sees "
            f"{_of(self.receptive_field)} (frames x bins); "
            f"{sum(p.numel() for p in self.parameters()):,} parameters"
        )

    def forward(self, magnitudes: Tensor) -> Tensor:
        self.check_windows(magnitudes)
        x = self._scaled(magnitudes)
        for convolution, norm, (_, stride, pool), skip in self._layers():
            x = F.conv2d(x[:, :, skip[0] :], convolution.weight, convolution.bias, stride)
            x = self.activation(norm(x))[:, :, skip[1] :]
            if pool != (1, 1):  # torch would copy the map, in a fifth of a step's time
                x = F.max_pool2d(x, pool)
        # The mask is not rounded to the run's precision.
        return self.output(self.linear(self.dropout(x.flatten(1))).float(), magnitudes[:, 0, -1])

    def _layers(self) -> Iterator[tuple[nn.Conv2d, nn.Module, Layer, Pair]]:
        return zip(cast("Iterator[nn.Conv2d]", self.convolutions), self.norms, self.layers, self.trims, strict=True)

    def all_windows(self, spectrogram: Tensor) -> Tensor:
        """What `forward` gives for every window of consecutive frames, each layer computed once for all of them.

        A window that begins one frame later needs of every map the same columns one frame later. So no map is thinned
        out along time: a stride there becomes a dilation of the layers that follow.

        Shape: (batch, time, bins) -> (batch, time - frames + 1, bins).
        """
        self.check_spectrogram(spectrogram)
        x = self._scaled(spectrogram)[:, None]
        step = 1  # frames between neighbouring rows of a window's map
        for convolution, norm, (_, stride, pool), skip in self._layers():
            x = x[:, :, skip[0] * step :]
            x = F.conv2d(x, convolution.weight, convolution.bias, (1, stride[1]), dilation=(step, 1))
            step *= stride[0]
            x = self.activation(norm(x))[:, :, skip[1] * step :]
            if pool != (1, 1):
                x = F.max_pool2d(x, pool, (1, pool[1]), dilation=(step, 1))
            step *= pool[0]
        x = self._linear_everywhere(x, step, spectrogram.shape[1])
        return self.output(x.float(), spectrogram[:, self.frames - 1 :])

    def _linear_everywhere(self, x: Tensor, step: int, time: int) -> Tensor:
        """The linear layer on every window's map, row by row of it.

        Shape: (batch, channel, rows, columns) -> (batch, windows, bins).
        """
        channels, height, width = self.map
        count = time - self.frames + 1
        weights = self.linear.weight.view(self.bins, channels, height, width)
        out = self.linear.bias
        for i in range(height):
            row = x[:, :, i * step : i * step + count].transpose(1, 2).flatten(2)
            out = out + self.dropout(row) @ weights[:, :, i].flatten(1).T
        return out

    def _scaled(self, magnitudes: Tensor) -> Tensor:
        return self.normalized_logs(magnitudes) if self.takes_logs else magnitudes


class STFTCNN1d(STFTCNN2d):
    """Single frames to their clean spectra: convolutions along frequency only.

    Args:
        bins: of the spectrum, n_fft // 2 + 1.
        channels, kernels, strides, pooling: of each convolution, in bins.
        activation, output, inputs, batch_norm, dropout: as in `STFTCNN2d`.

    Shape: (batch, 1, bins) -> (batch, bins), magnitudes. ValueError for a map that shrinks below 1.
    """

    def __init__(
        self, bins: int = 513, channels: Sequence[int] = (16, 32), kernels: Sequence[int] = (16, 8),
        strides: Sequence[int] = (4, 3), pooling: Sequence[int] = (1, 1), activation: str = "relu",
        output: str = "softplus", inputs: str = "magnitude", batch_norm: bool = False, dropout: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(
            bins, 1, channels, [(1, k) for k in kernels], [(1, s) for s in strides], [(1, p) for p in pooling],
            activation, output, inputs, batch_norm, dropout,
        )  # fmt: skip

    def forward(self, magnitudes: Tensor) -> Tensor:
        if magnitudes.dim() != 3 or tuple(magnitudes.shape[1:]) != (1, self.bins):
            raise ValueError(f"frames must be (batch, 1, {self.bins}), not {tuple(magnitudes.shape)}")
        return super().forward(magnitudes[:, :, None])


def _steps(size: int, kernel: int, stride: int) -> Pair:
    """How often a kernel fits, stride by stride, and what is left over."""
    return ((size - kernel) // stride + 1, (size - kernel) % stride) if size >= kernel else (0, 0)


def _of(pair: Sequence[int]) -> str:
    return f"{pair[0]} x {pair[1]}"
