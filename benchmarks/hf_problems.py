"""The problems of the Hessian-free races: data made here, weights from a seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from hessian_free import BernoulliCrossEntropy, CanonicalLoss, SoftmaxCrossEntropy

SPARSE_INPUTS = 15
SMALL_SIDE = 16  # of the images for convolutions, in pixels
SYMBOLS = 27
CONTEXT = 32  # tokens before the one that is predicted, at most


@dataclass(frozen=True)
class Stack:
    """A network of linear layers with sigmoids between them.

    Attributes:
        sizes: units of every layer.
        initialise: fills a Linear layer from a generator.
        linear: number of the layer without a nonlinearity after it (the code), counted from 0; None for none.
    """

    sizes: tuple[int, ...]
    initialise: Callable[[nn.Linear, torch.Generator], None]
    linear: int | None = None

    def __call__(self, seed: int) -> nn.Sequential:
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


@dataclass(frozen=True)
class Problem:
    """One problem of the race.

    Attributes:
        title: for tables and figures; the part before the first comma alone for figures.
        unit: of the loss.
        model: the network with the weights of a seed.
        loss_class: of the training loss.
        data: makes inputs, shape (examples, ...), and targets.
        budget_seconds: process CPU time of a method.
        seeds: how many starts.
        methods: names of those that race; empty for all.
        packages: names of those that race too; they know stacks alone.
    """

    title: str
    unit: str
    model: Callable[[int], nn.Module]
    loss_class: Callable[[Tensor], CanonicalLoss]
    data: Callable[[], tuple[Tensor, Tensor]]
    budget_seconds: float
    seeds: int
    methods: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()


# where a step on all of the data is no step that anyone would take
ON_MINIBATCHES = ("kronecker_hessian_free", "adam", "adam_averaged", "sgd", "soap", "schedule_free")


def seeded(build: Callable[[], nn.Module]) -> Callable[[int], nn.Module]:
    """A network with torch's first weights, from a seed, whatever else draws random numbers."""

    def model(seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return build()

    return model


def convolutional_network() -> nn.Sequential:
    """Two convolutions of 3 x 3 with group normalisation and pooling, and a hidden layer; 16 x 16 pixels."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.GroupNorm(4, 16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.GroupNorm(4, 32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * (SMALL_SIDE // 4) ** 2, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


class Transformer(nn.Module):
    """Two pre-norm layers with causal attention over learned positions; logits of the next token."""

    def __init__(self, width: int = 32, heads: int = 2) -> None:
        """Make the layers.

        Args:
            width: of a token's vector.
            heads: of attention.
        """
        super().__init__()
        self.tokens = nn.Embedding(SYMBOLS, width)
        self.positions = nn.Parameter(0.02 * torch.randn(CONTEXT, width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, batch_first=True, norm_first=True)
            for _ in range(2)
        )
        self.norm = nn.LayerNorm(width)
        self.logits = nn.Linear(width, SYMBOLS)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(CONTEXT))

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits, shape (sequences, tokens, symbols), of tokens, shape (sequences, tokens)."""
        hidden = self.tokens(tokens) + self.positions
        for layer in self.layers:
            hidden = layer(hidden, src_mask=self.mask, is_causal=True)
        return self.logits(self.norm(hidden))


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
def moved_digits(side: int, examples: int = 5_000) -> tuple[Tensor, Tensor]:
    """The digits of scikit-learn, enlarged, turned, resized and shifted at random.

    Args:
        side: of an image, in pixels.
        examples: how many; each of the 1797 digits comes two or three times.

    Returns:
        Images in [0, 1], shape (examples, 1, side, side), and their classes.
    """
    from sklearn.datasets import load_digits

    table = load_digits()
    generator = torch.Generator().manual_seed(0)

    def between(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(examples, generator=generator)

    chosen = torch.randperm(examples, generator=generator) % len(table.data)
    # a digit fills the 8 x 8 pixels; here some room is left around it, as in MNIST
    angle, size = between(-0.3, 0.3), between(0.65, 0.9)
    across, down = between(-0.2, 0.2), between(-0.2, 0.2)
    cosine, sine = angle.cos() / size, angle.sin() / size
    rows = [torch.stack([cosine, -sine, across], 1), torch.stack([sine, cosine, down], 1)]
    grid = functional.affine_grid(torch.stack(rows, 1), [examples, 1, side, side], align_corners=False)
    small = torch.tensor(table.images / 16, dtype=torch.float32)[chosen, None]
    images = functional.grid_sample(small, grid, mode="bicubic", align_corners=False).clamp(0, 1)
    return images, torch.tensor(table.target)[chosen]


@cache
def images() -> tuple[Tensor, Tensor]:
    """5 000 moved digits of 28 x 28 pixels, as inputs and targets."""
    pixels = moved_digits(28)[0].flatten(1)
    return pixels, pixels


def labelled_images() -> tuple[Tensor, Tensor]:
    """5 000 moved digits of 16 x 16 pixels and their classes."""
    return moved_digits(SMALL_SIDE)


def hidden_markov_model(states: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Transitions, shape (states, states), and emissions, shape (states, SYMBOLS); rows are distributions."""
    generator = np.random.default_rng(0)
    # sparse, so that the past says much about the state
    transitions = generator.dirichlet(np.full(states, 0.05), states)
    return transitions, generator.dirichlet(np.full(SYMBOLS, 0.2), states)


@cache
def hidden_markov(sequences: int = 4_000) -> tuple[Tensor, float]:
    """Sequences of the hidden Markov model, whose first state is uniform, and the entropy of a symbol.

    Args:
        sequences: how many.

    Returns:
        Symbols, shape (sequences, CONTEXT + 1), and the mean entropy in nats of all but the first, each given
        the symbols before it: no prediction from the past is better on average.
    """
    transitions, emissions = hidden_markov_model()
    generator = np.random.default_rng(1)
    belief = np.full((sequences, len(transitions)), 1 / len(transitions))
    symbols, entropies = [], []
    for _ in range(CONTEXT + 1):
        # a symbol drawn from what the filter expects is a symbol of the model
        expected = belief @ emissions
        draws = generator.random((sequences, 1))
        symbol = (expected.cumsum(1) < draws * expected.sum(1, keepdims=True)).sum(1)
        entropies.append(-(expected * np.log(expected.clip(1e-300))).sum(1).mean())
        belief = belief * emissions[:, symbol].T
        belief = belief / belief.sum(1, keepdims=True) @ transitions
        symbols.append(symbol)
    return torch.tensor(np.stack(symbols, 1)), float(np.mean(entropies[1:]))


def tokens() -> tuple[Tensor, Tensor]:
    """Sequences of the hidden Markov model, and the same one token on."""
    sequences, _ = hidden_markov()
    return sequences[:, :-1].contiguous(), sequences[:, 1:].contiguous()


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


CURVES = Problem(
    "curves autoencoder 784-400-200-100-50-25-6 and back, 5 000 images",
    "nats an image",
    Stack((784, 400, 200, 100, 50, 25, 6, 25, 50, 100, 200, 400, 784), sparse, linear=5),
    BernoulliCrossEntropy,
    curves,
    budget_seconds=300.0,
    seeds=3,
)

PROBLEMS = {
    "digits": Problem(
        "digits autoencoder 64-60-40-20-6-20-40-60-64",
        "nats an image",
        Stack((64, 60, 40, 20, 6, 20, 40, 60, 64), sparse, linear=3),
        BernoulliCrossEntropy,
        digits,
        budget_seconds=10.0,
        seeds=5,
        packages=("hessianfree_pypi",),
    ),
    "spectra": Problem(
        "spectra 513-50-50-50-10, 20 000 frames",
        "nats a frame",
        Stack((513, 50, 50, 50, 10), uniform),
        SoftmaxCrossEntropy,
        spectra,
        budget_seconds=20.0,
        seeds=2,
        packages=("hessianfree_pypi",),
    ),
    "curves": CURVES,
    # what was ahead there after five minutes, for half an hour
    "long_curves": replace(
        CURVES,
        title="curves for half an hour, the same network and images",
        budget_seconds=1800.0,
        methods=("kronecker_hessian_free", "adam", "adam_averaged", "soap"),
        packages=("kfac_jax",),
    ),
    "images": Problem(
        "images autoencoder 784-1000-500-250-30 and back, 5 000 moved digits",
        "nats an image",
        Stack((784, 1000, 500, 250, 30, 250, 500, 1000, 784), sparse, linear=3),
        BernoulliCrossEntropy,
        images,
        budget_seconds=120.0,
        seeds=1,
    ),
    "convolutions": Problem(
        "convolutional network with group normalisation, 5 000 moved digits of 16 x 16 pixels",
        "nats an image",
        seeded(convolutional_network),
        SoftmaxCrossEntropy,
        labelled_images,
        budget_seconds=60.0,
        seeds=1,
        methods=ON_MINIBATCHES,
    ),
    "tokens": Problem(
        "transformer of two layers, 4 000 sequences of 32 from a hidden Markov model",
        "nats a token",
        seeded(Transformer),
        SoftmaxCrossEntropy,
        tokens,
        budget_seconds=60.0,
        seeds=1,
        methods=ON_MINIBATCHES,
    ),
}
