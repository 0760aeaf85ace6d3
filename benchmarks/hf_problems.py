"""The three problems of the Hessian-free races: data made here, weights from a seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from hessian_free import BernoulliCrossEntropy, CanonicalLoss, SoftmaxCrossEntropy

SPARSE_INPUTS = 15


@dataclass(frozen=True)
class Problem:
    """One problem of the race.

    Attributes:
        title: for tables and figures.
        unit: of the loss.
        sizes: units of every layer.
        linear: number of the layer without a nonlinearity after it (the code), counted from 0; None for none.
        loss_class: of the training loss.
        data: makes inputs, shape (examples, inputs), and targets.
        initialise: fills a Linear layer from a generator.
        budget_seconds: process CPU time of a method.
        seeds: how many starts.
    """

    title: str
    unit: str
    sizes: tuple[int, ...]
    linear: int | None
    loss_class: Callable[[Tensor], CanonicalLoss]
    data: Callable[[], tuple[Tensor, Tensor]]
    initialise: Callable[[nn.Linear, torch.Generator], None]
    budget_seconds: float
    seeds: int

    def model(self, seed: int) -> nn.Sequential:
        """The network with the weights of a seed."""
        generator = torch.Generator().manual_seed(seed)
        modules: list[nn.Module] = []
        for number, (inputs, outputs) in enumerate(pairwise(self.sizes)):
            layer = nn.Linear(inputs, outputs)
            with torch.no_grad():
                self.initialise(layer, generator)
            last = number == len(self.sizes) - 2
            modules += [layer] if last or number == self.linear else [layer, nn.Sigmoid()]
        return nn.Sequential(*modules)


def sparse(layer: nn.Linear, generator: torch.Generator) -> None:
    """Fifteen incoming weights a unit from N(0, 1), the rest and the biases zero (Martens 2010)."""
    layer.weight.zero_()
    layer.bias.zero_()
    count = min(SPARSE_INPUTS, layer.in_features)
    for row in layer.weight:
        chosen = torch.randperm(layer.in_features, generator=generator)[:count]
        row[chosen] = torch.randn(count, generator=generator)


def uniform(layer: nn.Linear, generator: torch.Generator) -> None:
    """Uniform +-4 sqrt(6 / (in + out)), zero biases: the paper's sigmoid networks."""
    limit = 4 * (6 / (layer.in_features + layer.out_features)) ** 0.5
    layer.weight.uniform_(-limit, limit, generator=generator)
    layer.bias.zero_()


@cache
def digits() -> tuple[Tensor, Tensor]:
    """The 1797 digits of scikit-learn, 8 x 8 pixels in [0, 1], as inputs and targets."""
    from sklearn.datasets import load_digits

    pixels = torch.tensor(load_digits().data / 16, dtype=torch.float32)
    return pixels, pixels


@cache
def spectra(examples: int = 20_000, bins: int = 513) -> tuple[Tensor, Tensor]:
    """Frames of two of five banks of harmonic templates; the class is the pair of banks."""
    generator = np.random.default_rng(0)
    banks = np.stack([[_template(generator, bins) for _ in range(6)] for _ in range(5)])
    pairs = [(first, second) for first in range(5) for second in range(first)]
    classes = generator.integers(len(pairs), size=examples)
    chosen = np.array(pairs)[classes]
    frames = 0.05 * generator.gamma(0.7, size=(examples, 30)) @ banks.reshape(30, bins)
    for side in range(2):
        weights = generator.gamma(0.7, size=(examples, 6))
        frames += np.einsum("nt,ntb->nb", weights, banks[chosen[:, side]])
    frames *= np.exp(0.5 * generator.standard_normal((examples, bins)))
    frames *= np.exp(0.7 * generator.standard_normal((examples, 1)))
    frames = np.log1p(200 * frames)
    frames = (frames - frames.mean(0)) / frames.std(0)
    return torch.tensor(frames, dtype=torch.float32), torch.tensor(classes)


def _template(generator: np.random.Generator, bins: int) -> np.ndarray:
    """A falling harmonic spectrum plus three formants, highest bin 1."""
    bin_number = np.arange(bins)
    spacing = generator.uniform(6, 40)
    partials = spacing * np.arange(1, int(bins / spacing) + 1)
    spectrum = np.exp(-0.5 * ((bin_number[:, None] - partials) / 1.2) ** 2).sum(1)
    centres, widths = generator.uniform(10, 400, 3), generator.uniform(15, 60, 3)
    envelope = np.exp(-0.5 * ((bin_number[:, None] - centres) / widths) ** 2).sum(1)
    spectrum = spectrum * np.exp(-bin_number / 150) + 0.5 * envelope
    return spectrum / spectrum.max()


@cache
def curves(examples: int = 5_000, side: int = 28) -> tuple[Tensor, Tensor]:
    """Anti-aliased quadratic Bezier curves through three random points, as inputs and targets."""
    generator = torch.Generator().manual_seed(0)
    points = 3 + (side - 7) * torch.rand(examples, 3, 2, generator=generator)
    start, middle, end = points.unbind(1)
    control = 2 * middle - (start + end) / 2  # so that the curve meets the middle point at t = 1/2
    t = torch.linspace(0, 1, 80)[:, None, None]
    path = (1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * end
    axis = torch.arange(side, dtype=torch.float32)
    pixels = torch.cartesian_prod(axis, axis)
    images = []
    for part in path.transpose(0, 1).split(250):
        distance = torch.cdist(pixels.expand(len(part), -1, -1), part).amin(-1)
        images.append((1.5 - distance).clamp(0, 1))
    image = torch.cat(images)
    return image, image


PROBLEMS = {
    "digits": Problem(
        "digits autoencoder 64-60-40-20-6-20-40-60-64",
        "nats an image",
        (64, 60, 40, 20, 6, 20, 40, 60, 64),
        3,
        BernoulliCrossEntropy,
        digits,
        sparse,
        10.0,
        5,
    ),
    "spectra": Problem(
        "spectra 513-50-50-50-10, 20 000 frames",
        "nats a frame",
        (513, 50, 50, 50, 10),
        None,
        SoftmaxCrossEntropy,
        spectra,
        uniform,
        20.0,
        2,
    ),
    "curves": Problem(
        "curves autoencoder 784-400-200-100-50-25-6 and back, 5 000 images",
        "nats an image",
        (784, 400, 200, 100, 50, 25, 6, 25, 50, 100, 200, 400, 784),
        5,
        BernoulliCrossEntropy,
        curves,
        sparse,
        1800.0,
        3,
    ),
}
