"""What is measured inside a network: arrays in, arrays out."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

BANDS = 64


def lifetime_sparseness(activations: np.ndarray) -> np.ndarray:
    """Measure how few frames each unit responds to (Vinje & Gallant 2000).

    Args:
        activations: of one layer, shape (frames, units).

    Returns:
        Shape (units,): 0 for a unit that gives every frame the same, towards 1 the fewer frames it answers
        to; 1 for a unit that answers to none.
    """
    sizes = np.abs(activations, dtype=np.float64)
    squares = (sizes**2).mean(axis=0)
    even = np.divide(sizes.mean(axis=0) ** 2, squares, out=np.zeros_like(squares), where=squares > 0)
    # a dead unit would come out above one
    return np.minimum((1 - even) / (1 - 1 / len(sizes)), 1)


def mel_bands(weights: np.ndarray, frequencies_hz: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gather the inputs of filters in bands that are evenly wide to the ear (O'Shaughnessy's mel scale).

    Args:
        weights: shape (units, inputs).
        frequencies_hz: of the inputs, from 0 upwards, shape (inputs,).

    Returns:
        The mean weight in every band, shape (units, bands), and the edges in Hz, shape (bands + 1,).
    """
    edges = np.linspace(0, _mel(frequencies_hz[-1]), BANDS + 1)
    places = _mel(frequencies_hz)
    middles = (edges[1:] + edges[:-1]) / 2
    banded = np.empty((len(weights), BANDS))
    for band, (low, high) in enumerate(pairwise(edges)):
        inside = (places >= low) & ((places < high) | (band == BANDS - 1))
        if not inside.any():
            # narrower than a bin of the Fourier transform
            inside[np.abs(places - middles[band]).argmin()] = True
        banded[:, band] = weights[:, inside].mean(axis=1)
    return banded, 700 * (10 ** (edges / 2595) - 1)


def _mel(frequencies_hz: np.ndarray) -> np.ndarray:
    """Convert frequencies of any shape to mel, in the same shape."""
    return 2595 * np.log10(1 + frequencies_hz / 700)


def by_centre(weights: np.ndarray) -> np.ndarray:
    """Sort filters by their strongest band, excitation before inhibition.

    Args:
        weights: shape (units, bands).

    Returns:
        Indices of the units, lowest centre first.
    """
    centres = np.abs(weights).argmax(axis=1)
    return np.lexsort((-weights[np.arange(len(weights)), centres], centres))


def neighbour_map(vectors: np.ndarray) -> np.ndarray:
    """Lay vectors out in the plane so that neighbours stay neighbours (t-SNE, from the principal plane).

    Args:
        vectors: shape (vectors, features), a few hundred; each feature is standardised first.

    Returns:
        Shape (vectors, 2), the same for the same vectors. Directions and distances between far groups
        mean nothing.
    """
    from sklearn.manifold import TSNE

    spread = vectors.std(axis=0)
    scaled = (vectors - vectors.mean(axis=0)) / np.where(spread > 0, spread, 1)
    left, sizes, _ = np.linalg.svd(scaled.astype(np.float64), full_matrices=False)
    plane = left[:, :2] * sizes[:2]
    # a decomposition leaves the signs open: fixed, or the map could flip from machine to machine
    plane *= np.sign(plane[np.abs(plane).argmax(axis=0), [0, 1]])
    start = (1e-4 * plane / plane[:, 0].std()).astype(np.float32)
    perplexity = min(20.0, (len(vectors) - 1) / 3)
    return TSNE(2, init=start, perplexity=perplexity, max_iter=500, method="exact").fit_transform(scaled)


def same_neighbours(points: np.ndarray, genres: np.ndarray, clips: np.ndarray) -> float:
    """Count how often the nearest point of another clip has the same genre.

    Args:
        points: shape (points, 2).
        genres: of each point, shape (points,).
        clips: the clip that each point comes from, shape (points,).

    Returns:
        Percent of the points.
    """
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    distances[clips[:, None] == clips[None]] = np.inf
    return float(100 * (genres[distances.argmin(axis=1)] == genres).mean())
