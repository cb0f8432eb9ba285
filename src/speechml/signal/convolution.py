"""Causal convolution of several channels by short filters, by the fastest exact algorithm for the shapes."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from scipy.fft import next_fast_len
from torch import Tensor

SCRATCH = 2**22  # samples of scratch at a time: they stay in the cache, and below the size malloc gives back


def causal_convolution(x: Tensor, h: Tensor) -> Tensor:
    _check(x, h)
    taps, features_out, features_in = h.shape
    if x.numel() == 0 or torch.is_autocast_enabled(x.device.type) or x.dtype not in (torch.float32, torch.float64):
        return _direct(x, h)
    name = algorithm(x.shape[0], taps, features_in, features_out, x.shape[2], x.device.type)
    return ALGORITHMS[name](x, h)


def _check(x: Tensor, h: Tensor) -> None:
    if x.dim() != 3 or h.dim() != 3:
        raise ValueError("x")


def algorithm(batch: int, taps: int, features_in: int, features_out: int, length: int, device_type: str) -> str:
    return "direct"


def _direct(x: Tensor, h: Tensor) -> Tensor:
    return F.conv1d(F.pad(x, (h.shape[0] - 1, 0)), h.permute(1, 2, 0).flip(-1))


def _fourier(x: Tensor, h: Tensor) -> Tensor:
    length = x.shape[-1]
    size = next_fast_len(length + h.shape[0] - 1, real=True)
    spectrum = torch.fft.rfft(x, size)
    response = torch.fft.rfft(h.permute(1, 2, 0), size)
    product = torch.einsum("bfw,gfw->bgw", spectrum, response)
    return torch.fft.irfft(product, size)[..., :length]


def _blocks(x: Tensor, h: Tensor) -> Tensor:
    return _Convolution.apply(x, h, False)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, h, ahead):
        ctx.save_for_backward(x, h)
        ctx.ahead = ahead
        return _filter(x, h, ahead)

    @staticmethod
    def backward(ctx, dy):
        x, h = ctx.saved_tensors
        dx = dh = None
        if ctx.needs_input_grad[0]:
            dx = _Convolution.apply(dy, h.transpose(1, 2), not ctx.ahead)
        if ctx.needs_input_grad[1]:
            dh = _Correlation.apply(x, dy, h.shape[0], ctx.ahead)
        return dx, dh, None


class _Correlation(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, y, taps, ahead):
        ctx.save_for_backward(x, y)
        ctx.ahead = ahead
        if x.shape[1] <= y.shape[1]:
            return _correlate(x, y, taps, ahead)
        return _correlate(y, x, taps, not ahead).transpose(1, 2)

    @staticmethod
    def backward(ctx, dh):
        x, y = ctx.saved_tensors
        dx = dy = None
        if ctx.needs_input_grad[0]:
            dx = _Convolution.apply(y, dh.transpose(1, 2), not ctx.ahead)
        if ctx.needs_input_grad[1]:
            dy = _Convolution.apply(x, dh, ctx.ahead)
        return dx, dy, None, None


FORCE_P = None
FORCE_M = None


def _phases(taps, f, g):
    if FORCE_P:
        return FORCE_P
    return max(1, 16 // min(f, g))


def _block(taps, f, g):
    if FORCE_M:
        return FORCE_M
    return 16 if taps < 64 else 32 if taps < 128 else 64


def _in_blocks(x, block, before, after):
    """(batch, channel, time) -> (batch, before + blocks + after, channel, block), zeros outside of the record."""
    batch, channels, length = x.shape
    full = length // block
    count = -(-length // block)
    out = x.new_empty(batch, before + count + after, channels, block)
    out[:, :before] = 0
    out[:, before + full :] = 0
    out[:, before : before + full] = x[..., : full * block].unflatten(-1, (full, block)).transpose(1, 2)
    if full < count:
        out[:, before + full, :, : length - full * block] = x[..., full * block :]
    return out


def _reach(taps, block):
    return -(-(taps - 1) // block)


def _filter(x, h, ahead):
    (batch, f, n), (taps, g, _) = x.shape, h.shape
    p = _phases(taps, f, g)
    r = _reach(taps, p)
    w = _toeplitz(h.permute(1, 2, 0), p, (r + 1) * p)  # g f m q
    if not ahead:
        w = w.flip(2, 3)
    w = w.unflatten(3, (r + 1, p)).permute(0, 2, 1, 4, 3).reshape(g * p, f * p, r + 1, 1)
    nb = -(-n // p)
    y = x.new_empty(batch, g, nb, p)
    chunk = max(1, SCRATCH // ((f + g) * n))
    for i in range(0, batch, chunk):
        xp = _in_blocks(x[i : i + chunk], p, *((0, r) if ahead else (r, 0)))
        xp = xp.view(-1, nb + r, 1, f * p).permute(0, 3, 1, 2)
        out = F.conv2d(xp, w)  # c, g*p, nb, 1
        y[i : i + chunk] = out.view(-1, g, p, nb).transpose(2, 3)
    return y.view(batch, g, nb * p)[..., :n]


def _toeplitz(h, m, q):
    # h (..., K) -> (..., m, q): row i is h shifted right by i
    k = h.shape[-1]
    rows = F.pad(h, (0, q + 1 - k)).unsqueeze(-2).expand(*h.shape[:-1], m, q + 1)
    return rows.reshape(*h.shape[:-1], m * (q + 1))[..., : m * q].reshape(*h.shape[:-1], m, q)


def _correlate(x, y, taps, ahead):
    """c[k, g, f] = sum y_g(n) x_f(n -+ k)."""
    (batch, f, n), g = x.shape, y.shape[1]
    m = _block(taps, f, g)
    r = _reach(taps, m)
    nb = -(-n // m)
    width = (r + 1) * f * m
    total = x.new_zeros(width, g * m)
    chunk = max(1, SCRATCH // ((f * (r + 1) + g) * n))
    for i in range(0, batch, chunk):
        xb = _in_blocks(x[i : i + chunk], m, *((0, r) if ahead else (r, 0)))
        windows = xb.as_strided((xb.shape[0], nb, width), (xb.stride(0), f * m, 1)).contiguous()
        yb = _in_blocks(y[i : i + chunk], m, 0, 0).view(-1, nb, g * m)
        total += torch.bmm(windows.transpose(1, 2), yb).sum(0)
    d = total.view(r + 1, f, m, g, m).permute(3, 1, 4, 0, 2).flatten(3)
    if not ahead:
        d = d.flip(2, 3)
    d = F.pad(d.flatten(2), (0, m)).unflatten(2, (m, -1)).sum(2)[..., :taps]
    return d.permute(2, 0, 1)


ALGORITHMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"direct": _direct, "blocks": _blocks, "fourier": _fourier}
