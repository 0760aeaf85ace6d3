"""The base of every settings class: frozen, strict about unknown keys, complete (no defaults)."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """One section of params.yaml: a subclass declares the fields and a factory that builds the part.

    Unknown keys are refused, values are never coerced from text, and no field has a default: a value that
    is missing from params.yaml would be invisible to DVC, which would then call an old result up to date.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
