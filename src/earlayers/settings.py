"""The base of every settings class: frozen, strict about unknown keys, complete (no defaults)."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError, core_schema

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler


# every fold adds its number to a seed, and NumPy takes no more than 32 bits
Seed = Annotated[int, Field(ge=0, lt=1 << 31)]
REFUSED = "refused"  # the type of a pydantic error whose message says all


def refusal(*problems: tuple[tuple[str, ...], str]) -> ValidationError:
    """The error of a validator that knows where in its section the fault lies.

    Args:
        problems: the path of an entry below the section, and what must hold and what was there.
    """
    return ValidationError.from_exception_data(
        "settings",
        [
            InitErrorDetails(
                type=PydanticCustomError(REFUSED, "{what}", {"what": what}), loc=place, input=None
            )
            for place, what in problems
        ],
    )


class Settings(BaseModel):
    """One section of params.yaml: a subclass declares the fields and a factory that builds the part.

    Unknown keys are refused, values are never coerced from text, numbers are finite, and no field has a
    default: a value that is missing from params.yaml would be invisible to DVC, which would then call an old
    result up to date.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _name_the_keys(cls, content: Any) -> Any:
        unknown = (
            [str(key) for key in content if key not in cls.model_fields] if isinstance(content, dict) else []
        )
        if unknown:
            raise refusal(*(((key,), _unknown(key, list(cls.model_fields))) for key in unknown))
        return content


class Kind(Settings):
    """Settings of which there are several kinds, one class each: optimisers, classifiers, front ends, ...

    The direct subclass says what all kinds share and is the type of a field. Each of its subclasses is a
    kind, named by a `Literal` in the field `chosen_by`; to define one, wherever, is to add it.
    """

    chosen_by: ClassVar[str] = "name"

    @classmethod
    def kinds(cls) -> dict[str, type[Self]]:
        """Every kind that is defined so far, by name, in the order of their definition."""
        own = cls.model_fields.get(cls.chosen_by)
        kinds: dict[str, type[Self]] = dict.fromkeys(get_args(own.annotation), cls) if own else {}
        for kind in cls.__subclasses__():
            kinds |= kind.kinds()
        return kinds

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[BaseModel], handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Validate a kind by its own fields, and what all kinds share by looking the kind up first."""
        if cls.chosen_by in cls.model_fields:
            return handler(source)
        # what is dumped is what the kind holds, not only what all kinds share
        whole = core_schema.wrap_serializer_function_ser_schema(
            lambda value, dump: dump(value), schema=core_schema.any_schema()
        )
        # a union, pydantic's way of doing this, would have to be written after the last kind
        return core_schema.no_info_plain_validator_function(cls._chosen, serialization=whole)

    @classmethod
    def _chosen(cls, content: Any) -> Self:
        if isinstance(content, cls):
            return content
        name, kinds = content.get(cls.chosen_by) if isinstance(content, dict) else None, cls.kinds()
        if not isinstance(name, str) or name not in kinds:
            raise PydanticCustomError(
                "kind",
                "{key} must be one of {names}, found {name}",
                {"key": cls.chosen_by, "names": ", ".join(map(repr, kinds)), "name": repr(name)},
            )
        return kinds[name].model_validate(content)


def _unknown(key: str, known: list[str]) -> str:
    close = get_close_matches(key, known, n=1)
    return f"unknown key{f', perhaps {close[0]}' if close else ''}; there are {', '.join(known)}"
