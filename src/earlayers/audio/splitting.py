"""Tracks -> folds of train, valid and test parts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from earlayers.settings import Settings


class Stratified(Settings):
    """Stratified folds; fold k tests on part k and validates on part k + 1 (paper section 3)."""

    name: Literal["stratified"]
    folds: Annotated[int, Field(ge=3, le=20)]
    seed: int


class Grouped(Settings):
    """Stratified folds in which all tracks of one group stay in one part."""

    name: Literal["grouped"]
    folds: Annotated[int, Field(ge=3, le=20)]
    seed: int


class FaultFiltered(Settings):
    """GTZAN's published fault-filtered partition, the same for every fold (only the seeds differ)."""

    name: Literal["fault_filtered"]
    folds: Annotated[int, Field(ge=1, le=20)]


class Listed(Settings):
    """The user's own folds: a csv with a column `path` and a column per fold (part or empty)."""

    name: Literal["listed"]
    file: str


Split = Annotated[Stratified | Grouped | FaultFiltered | Listed, Field(discriminator="name")]
