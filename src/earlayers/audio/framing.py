"""Waveform -> frames: magnitude spectra, mel bands, MFCC. The only importer of torchaudio."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from earlayers.settings import Settings

Positive = Annotated[int, Field(gt=0)]


class FrontEndSettings(Settings):
    """What every front end shares: frames of `frame_samples` every `hop_samples`, never padded."""

    frame_samples: Positive
    hop_samples: Positive
    window: Literal["rectangular", "hann"]


class Spectrum(FrontEndSettings):
    """Magnitudes of the Fourier transform: frame_samples / 2 + 1 bins (paper section 3.1)."""

    name: Literal["spectrum"]
    compression: Literal["none", "log1p"]


class Mel(FrontEndSettings):
    """Mel-band magnitudes."""

    name: Literal["mel"]
    mel_bands: Positive
    compression: Literal["none", "log1p"]


class Mfcc(FrontEndSettings):
    """Mel-frequency cepstral coefficients."""

    name: Literal["mfcc"]
    mel_bands: Positive
    coefficients: Positive


FrontEnd = Annotated[Spectrum | Mel | Mfcc, Field(discriminator="name")]
