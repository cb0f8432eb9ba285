"""How networks are trained and scored."""

from speechml.tasks.waveform_denoising import WaveformDenoiser

__all__ = ["WaveformDenoiser"]
