"""Waveform -> frames: magnitude spectra, mel bands, MFCC. The only importer of torchaudio.

To add a front end is to write one subclass of `FrontEnd` here, and to name it in params.yaml.
"""

from __future__ import annotations

import math
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, Field, TypeAdapter, model_validator

from earlayers.settings import Kind, refusal

if TYPE_CHECKING:
    import torch

Positive = Annotated[int, Field(gt=0)]
SMALLEST_RATE_HZ, LARGEST_RATE_HZ = 1_000, 384_000  # of the settings: telephone is 8 000, studios 192 000
Samples = Annotated[int, Field(ge=2, le=1 << 20)]
LOADER = "torchaudio._extension.utils"
_IMPORTING = threading.Lock()
LARGEST_RATIO = 2000
LARGEST_KERNEL = 2 * LARGEST_RATIO**2  # numbers: what an odd rate near 44.1 kHz needs, a second of work
FRAMES_IN_CACHE = 128
KERNEL_PHASES = 16  # measured: a convolution with fewer output channels is slow


class FrontEndFunction:
    """A built front end: the waveform of one clip becomes its frames.

    Frames are never padded or centred: frame i covers samples i * hop to i * hop + frame_samples, and a tail
    that fills no frame is dropped. May be called from several threads at once.

    With context, a frame is given with its neighbours side by side, earlier ones first; at the ends of the
    clip its first and last frame are repeated.

    Attributes:
        dimensions: numbers in a frame, its neighbours included.
        margin: neighbours on either side.
    """

    def __init__(
        self,
        transform: Callable[[torch.Tensor], torch.Tensor],
        dimensions: int,
        frame: int,
        context_frames: int = 1,
    ) -> None:
        """Wrap a transform.

        Args:
            transform: waveform, shape (samples,), -> frames, shape (dimensions, frames).
            dimensions: numbers in a frame alone.
            frame: samples in a frame.
            context_frames: how many lie side by side, an odd number; 1 is each frame alone.
        """
        self.dimensions = dimensions * context_frames
        self.margin = context_frames // 2
        self._transform = transform
        self._frame_samples = frame

    def __call__(self, waveform: np.ndarray) -> np.ndarray:
        """Compute the frames of a clip.

        Args:
            waveform: mono samples, float32, shape (samples,).

        Returns:
            Frames, float32, shape (frames, dimensions); none when the clip is shorter than one frame.
        """
        import torch

        if len(waveform) < self._frame_samples:
            return np.empty((0, self.dimensions), dtype=np.float32)
        with torch.inference_mode():
            bands = self._transform(torch.from_numpy(waveform))  # (dimensions of a frame alone, frames)
            frames = bands.T.contiguous().numpy()
        if self.margin == 0:
            return frames
        places = np.arange(len(frames))[:, None] + np.arange(-self.margin, self.margin + 1)
        return frames[places.clip(0, len(frames) - 1)].reshape(len(frames), self.dimensions)


def _odd(number: int) -> int:
    if number % 2 == 0:
        raise ValueError("must be odd: as many neighbours before a frame as after it")
    return number


ContextFrames = Annotated[int, Field(gt=0, le=99), AfterValidator(_odd)]


class FrontEnd(Kind):
    """What every front end shares: frames of `frame_samples` every `hop_samples`, never padded."""

    if TYPE_CHECKING:
        name: str  # each kind's own field
    frame_samples: Samples
    hop_samples: Samples
    window: Literal["rectangular", "hann"]

    def bins(self) -> int | None:
        """Numbers in a frame, where the settings alone say it."""
        return None

    def build(self, sample_rate_hz: int) -> FrontEndFunction:
        """Make the function for waveforms of `sample_rate_hz`."""
        raise NotImplementedError

    def _framing(self) -> dict[str, Any]:
        """Arguments that every transform of torchaudio takes for its frames."""
        import torch

        window = {"rectangular": torch.ones, "hann": torch.hann_window}[self.window]
        return {
            "n_fft": self.frame_samples,
            "win_length": self.frame_samples,
            "hop_length": self.hop_samples,
            "window_fn": window,
            "center": False,
        }


class Spectrum(FrontEnd):
    """Magnitudes of the Fourier transform: frame_samples / 2 + 1 bins (paper section 3.1)."""

    name: Literal["spectrum"]
    compression: Literal["none", "log1p"]
    context_frames: ContextFrames

    def bins(self) -> int:
        """See `FrontEnd`."""
        return self.context_frames * (self.frame_samples // 2 + 1)

    def build(self, sample_rate_hz: int) -> FrontEndFunction:
        """Make the function; its bin b lies at b * sample_rate_hz / frame_samples Hz."""
        del sample_rate_hz  # magnitudes are counted in bins, whatever the rate
        framing = self._framing()
        window = None if self.window == "rectangular" else framing["window_fn"](self.frame_samples)

        def magnitudes(waveform: torch.Tensor) -> torch.Tensor:
            """Shape (samples,) -> (bins, frames)."""
            return _magnitudes(waveform.unfold(0, self.frame_samples, self.hop_samples), window).T

        transform = _compressed(magnitudes, self.compression)
        bins = self.frame_samples // 2 + 1
        return FrontEndFunction(transform, bins, self.frame_samples, self.context_frames)


class Mel(FrontEnd):
    """Fourier magnitudes summed into triangular mel bands from 0 Hz to half the rate (HTK's mel scale)."""

    name: Literal["mel"]
    mel_bands: Positive
    compression: Literal["none", "log1p"]
    context_frames: ContextFrames

    @model_validator(mode="after")
    def _bands_have_bins(self) -> Mel:
        _check_bands(self.mel_bands, self.frame_samples)
        return self

    def bins(self) -> int:
        """See `FrontEnd`."""
        return self.context_frames * self.mel_bands

    def build(self, sample_rate_hz: int) -> FrontEndFunction:
        """Make the function for waveforms of `sample_rate_hz`."""
        with _without_mel_warnings():
            bands = torchaudio().transforms.MelSpectrogram(
                sample_rate=sample_rate_hz, n_mels=self.mel_bands, power=1.0, **self._framing()
            )
        transform = _compressed(bands, self.compression)
        return FrontEndFunction(transform, self.mel_bands, self.frame_samples, self.context_frames)


class Mfcc(FrontEnd):
    """Mel-frequency cepstral coefficients: the cosine transform of the logarithm of mel-band powers."""

    name: Literal["mfcc"]
    mel_bands: Positive
    coefficients: Positive

    @model_validator(mode="after")
    def _coefficients_have_bands(self) -> Mfcc:
        _check_bands(self.mel_bands, self.frame_samples)
        if self.coefficients > self.mel_bands:
            raise refusal((("coefficients",), f"is {self.coefficients}, at most mel_bands, {self.mel_bands}"))
        return self

    def bins(self) -> int:
        """See `FrontEnd`."""
        return self.coefficients

    def build(self, sample_rate_hz: int) -> FrontEndFunction:
        """Make the function for waveforms of `sample_rate_hz`.

        The logarithm is taken of every frame by itself (`log_mels`): decibels cut at 80 below the loudest
        frame would make a frame depend on the rest of its clip.
        """
        with _without_mel_warnings():
            transform = torchaudio().transforms.MFCC(
                sample_rate=sample_rate_hz,
                n_mfcc=self.coefficients,
                log_mels=True,
                melkwargs={"n_mels": self.mel_bands, "power": 2.0, **self._framing()},
            )
        return FrontEndFunction(transform, self.coefficients, self.frame_samples)


def of_model(facts: Any) -> FrontEnd:
    """The front end that a model was trained with, as its network.json tells.

    A model from before there was `context_frames` saw each frame alone.

    Raises:
        KeyError, TypeError, ValidationError: when the facts are no front end's.
    """
    kind = FrontEnd.kinds().get(facts["name"])
    if kind and "context_frames" in kind.model_fields:
        facts = {"context_frames": 1} | facts
    return TypeAdapter(FrontEnd).validate_python(facts)


def _check_bands(bands: int, frame_samples: int) -> None:
    bins = frame_samples // 2 + 1
    if bands > bins:
        raise refusal(
            (("mel_bands",), f"is {bands}, at most the {bins} bins of frame_samples {frame_samples}")
        )


def _magnitudes(frames: torch.Tensor, window: torch.Tensor | None) -> torch.Tensor:
    """|FFT| of frames, shape (frames, samples) -> (frames, bins).

    A few frames at a time, so that their spectra never leave the cache, and NumPy's magnitude, which is nine
    times as fast as torch's: together twice as fast as torchaudio's Spectrogram.
    """
    import torch

    magnitudes = np.empty((len(frames), frames.shape[1] // 2 + 1), dtype=np.float32)
    for start in range(0, len(frames), FRAMES_IN_CACHE):
        part = slice(start, start + FRAMES_IN_CACHE)
        spectra = torch.fft.rfft(frames[part] if window is None else frames[part] * window)
        np.abs(spectra.numpy(), out=magnitudes[part])
    return torch.from_numpy(magnitudes)


def _compressed(
    transform: Callable[[torch.Tensor], torch.Tensor], compression: str
) -> Callable[[torch.Tensor], torch.Tensor]:
    """The transform, waveform (samples,) -> magnitudes (dimensions, frames), with their compression."""
    # log(1 + x) of plain magnitudes: nearly linear below 1, about 54 dB under a full-scale sine
    return transform if compression == "none" else lambda waveform: transform(waveform).log1p_()


def _without_mel_warnings() -> warnings.catch_warnings:
    """Narrow bands between two low bins are empty by construction; a constant band carries no harm."""
    return warnings.catch_warnings(action="ignore", category=UserWarning)


def resample(waveform: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """Resample by windowed-sinc interpolation (torchaudio's Resample, its kernel computed once a rate).

    Args:
        waveform: mono samples, float32, shape (samples,).
        from_hz: its sampling rate.
        to_hz: the wanted rate.

    Returns:
        float32, shape (ceil(samples * to_hz / from_hz),).
    """
    import torch

    if _ratio(from_hz, to_hz) == 1:
        return waveform
    with torch.inference_mode():
        return _resampler(from_hz, to_hz)(torch.from_numpy(waveform)).numpy()


def resampling_margin(from_hz: int, to_hz: int) -> int:
    """Samples after a moment that influence the resampled value at it: what to read beyond a cut."""
    if _ratio(from_hz, to_hz) == 1:
        return 0
    kernel = _resampler(from_hz, to_hz)
    return kernel.width + kernel.orig_freq


def _ratio(from_hz: int, to_hz: int) -> Fraction:
    # the kernel has about from * to / gcd^2 entries: gigabytes for an odd rate such as 44099 Hz. A ratio of
    # small numbers is exact for every usual rate and within half a cent of pitch for any other
    largest = min(LARGEST_RATIO, math.isqrt(max(1, LARGEST_KERNEL * to_hz // from_hz)))
    return Fraction(from_hz, to_hz).limit_denominator(largest)


@lru_cache(maxsize=64)
def _resampler(from_hz: int, to_hz: int) -> Any:
    ratio = _ratio(from_hz, to_hz)
    return _widened(torchaudio().transforms.Resample(ratio.numerator, ratio.denominator))


def _widened(resampler: Any) -> Any:
    """Let one step of the convolution give at least sixteen samples: the same numbers, ten times faster."""
    import torch

    phases, _, taps = resampler.kernel.shape  # output samples of a step, 1, input samples of a step
    steps = max(1, KERNEL_PHASES // phases)
    kernel = torch.zeros(steps * phases, 1, taps + (steps - 1) * resampler.orig_freq)
    for step in range(steps):
        start = step * resampler.orig_freq
        kernel[step * phases : (step + 1) * phases, :, start : start + taps] = resampler.kernel
    resampler.kernel = kernel
    # 44100 -> 22050 becomes 32 samples in, 16 out, instead of 2 in, 1 out
    resampler.orig_freq, resampler.new_freq, resampler.gcd = steps * resampler.orig_freq, steps * phases, 1
    return resampler


def torchaudio() -> ModuleType:
    """Import torchaudio, also where its compiled extension cannot be loaded, and by several threads.

    The extension of a build for CUDA misses its libraries beside a CPU build of torch and raises OSError.
    Everything used here is Python, so the extension is then made to look absent, which the package is built
    to run without, and the import is repeated. Any other error is raised.
    """
    with _IMPORTING:  # a module that another thread has half imported stands in sys.modules too
        if "torchaudio" in sys.modules:
            return sys.modules["torchaudio"]
        try:
            import torchaudio as module
        except OSError as error:
            if not _raised_by_extension(error):
                raise
            # the failed import leaves its loader behind; the second import finds and asks it
            loader = sys.modules[LOADER]
            loader._load_lib = lambda _library: False  # type: ignore[attr-defined]
            import torchaudio as module
        return module


def _raised_by_extension(error: OSError) -> bool:
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_code.co_name == "_load_lib" and LOADER in sys.modules for frame, _line in frames)
