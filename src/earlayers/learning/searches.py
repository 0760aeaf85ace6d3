"""Settings of a search, `tune.<method>` in params.yaml: what may vary, how far, and the paper's values."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from earlayers.learning.methods import Method
from earlayers.settings import Settings

Positive = Annotated[int, Field(gt=0)]
Value = float | int | str
Values = dict[str, Value]


class FloatRange(Settings):
    """A real number between two ends."""

    kind: Literal["float"]
    low: float
    high: float
    log: bool  # equal steps in the logarithm
    paper: float  # the paper's value, or, where it gives none, what its reproduction takes

    @model_validator(mode="after")
    def _is_a_range(self) -> FloatRange:
        _check_ends(self.low, self.high, self.log)
        return self

    def covers(self, value: Value) -> bool:
        """Whether the range holds a value."""
        return not isinstance(value, str) and self.low <= value <= self.high


class IntegerRange(Settings):
    """A whole number between two ends."""

    kind: Literal["integer"]
    low: int
    high: int
    log: bool
    paper: int

    @model_validator(mode="after")
    def _is_a_range(self) -> IntegerRange:
        _check_ends(self.low, self.high, self.log)
        return self

    def covers(self, value: Value) -> bool:
        """Whether the range holds a value."""
        return isinstance(value, int) and self.low <= value <= self.high


class Choice(Settings):
    """One of some values without an order: names, or numbers among which a zero stands beside a log scale."""

    kind: Literal["choice"]
    choices: Annotated[list[Value], Field(min_length=1)]
    paper: Value

    def covers(self, value: Value) -> bool:
        """Whether the value is one of the choices."""
        return value in self.choices


Dimension = Annotated[FloatRange | IntegerRange | Choice, Field(discriminator="kind")]


class MedianPruning(Settings):
    """End a trial that is worse than the median of the finished ones at the same point."""

    name: Literal["median"]
    startup_trials: Positive  # finished trials before any is ended early
    warmup_epochs: Annotated[int, Field(ge=0)]  # epochs of fold 0 that every trial gets


class HyperbandPruning(Settings):
    """Hyperband over the epochs of fold 0, the median after every fold."""

    name: Literal["hyperband"]
    startup_trials: Positive  # finished trials before the median of a fold ends any
    min_epochs: Positive
    reduction_factor: Annotated[int, Field(ge=2)]


class NoPruning(Settings):
    """Every trial runs to its end."""

    name: Literal["none"]


Pruning = Annotated[MedianPruning | HyperbandPruning | NoPruning, Field(discriminator="name")]


class Search(Settings):
    """How one method is tuned; keys of `space` and `grid` are paths within the method's own settings."""

    space: Annotated[dict[str, Dimension], Field(min_length=1)]
    grid: Annotated[dict[str, Annotated[list[Value], Field(min_length=1)]], Field(min_length=1)]
    pruner: Pruning
    frame_stride: Positive  # every n-th training frame is used; 1 is what the pipeline trains on
    max_epochs: Positive  # at most, in a trial

    @model_validator(mode="after")
    def _values_lie_in_the_space(self) -> Search:
        for name, dimension in self.space.items():
            if not dimension.covers(dimension.paper):
                raise ValueError(f"space.{name}: paper is {dimension.paper!r}, outside the space")
        for name, values in self.grid.items():
            if name not in self.space:
                raise ValueError(f"grid names {name!r}; space has {', '.join(self.space)}")
            outside = [value for value in values if not self.space[name].covers(value)]
            if outside:
                raise ValueError(f"grid.{name}: {outside} lie outside the space")
        return self

    def paper_values(self) -> Values:
        """The paper's value of everything that may vary."""
        return {name: dimension.paper for name, dimension in self.space.items()}

    def grid_size(self) -> int:
        """How many combinations the grid has."""
        size = 1
        for values in self.grid.values():
            size *= len(set(values))
        return size

    def check(self, name: str, method: Method) -> None:
        """See that every end of every dimension gives a method that can be trained.

        Args:
            name: the method's key, for the message.
            method: its settings in `methods`.

        Raises:
            ValueError: naming the dimension and what is wrong with it.
        """
        for path, dimension in self.space.items():
            ends = dimension.choices if isinstance(dimension, Choice) else [dimension.low, dimension.high]
            for end in ends:
                check_values(method, {path: end}, f"tune.{name}.space", name)


def with_values(method: Method, values: Values) -> Method:
    """The method with some settings replaced.

    Args:
        method: the settings to start from.
        values: new values by path, for example `optimizer.learning_rate`.

    Returns:
        Validated settings.

    Raises:
        KeyError: for a path that the method does not have.
        pydantic.ValidationError: for a value that the method refuses.
    """
    content: dict[str, Any] = method.model_dump()
    for path, value in values.items():
        *parents, last = path.split(".")
        place: Any = content
        for parent in parents:
            place = place.get(parent) if isinstance(place, dict) else None
        # an unknown key would otherwise be reported as an extra one, far from its cause
        if not isinstance(place, dict) or last not in place:
            raise KeyError(path)
        place[last] = value
    return Method.model_validate(content)


def check_values(method: Method, values: Values, place: str, name: str) -> None:
    """See that the method with some values, one put in after the other, is one that can be trained.

    Args:
        method: the settings to start from.
        values: new values by path, see `with_values`.
        place: where in params.yaml the values stand, for the message.
        name: the method's key, for the message.

    Raises:
        ValueError: naming the path and what is wrong with its value.
    """
    for path, value in values.items():
        try:
            method = with_values(method, {path: value})
        except KeyError:
            raise ValueError(f"{place}.{path}: methods.{name} has no {path}") from None
        except ValidationError as error:
            message = error.errors(include_url=False)[0]["msg"]
            raise ValueError(f"{place}.{path}: {value!r}: {message}") from None


def _check_ends(low: float, high: float, log: bool) -> None:
    if not low < high:
        raise ValueError(f"low must be below high, found {low} and {high}")
    if log and low <= 0:
        raise ValueError(f"a logarithmic range must begin above 0, found {low}")
