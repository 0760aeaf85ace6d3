"""Arrays become matplotlib figures; nothing here reads or saves a file, and no state outlives a call.

Figures are small (about 5 inches wide) and hold one panel each: a page lays several side by side where there
is room and below each other where there is none, and their text stays readable on a telephone.
"""

from earlayers.plots.accuracy import accuracy_by_layer, intervals, recall_by_genre
from earlayers.plots.clips import confusion, projection, timeline
from earlayers.plots.layers import filters, sparseness
from earlayers.plots.learning import learning_curves
from earlayers.plots.style import Style, styles

__all__ = [
    "Style",
    "accuracy_by_layer",
    "confusion",
    "filters",
    "intervals",
    "learning_curves",
    "projection",
    "recall_by_genre",
    "sparseness",
    "styles",
    "timeline",
]
