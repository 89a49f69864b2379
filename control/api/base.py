"""The base of all wire types: field names, strictness and lossless round trips."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticUndefined

from control.api.wire import UnreadableError, wire_name
from control.api.wire import decode as decode
from control.api.wire import drop_nulls as drop_nulls
from control.api.wire import encode as encode

# An integer of Go's int32; larger numbers are refused when an object is read.
Int32 = Annotated[int, Field(ge=-(2**31), lt=2**31)]


# Functions, not the types: pydantic asks each for its parameters, and parses the text of a type's.
def _no_items() -> list[Any]:
    return []


def _no_members() -> dict[str, Any]:
    return {}


class Model(BaseModel):
    """The base class of wire types.

    Values are frozen and strictly typed ("3" is not 3), and unknown fields survive a round trip.
    ``None`` means absent; ``decode`` drops JSON nulls as Go's decoder does.
    """

    model_config = ConfigDict(
        alias_generator=wire_name,
        populate_by_name=True,
        extra="allow",
        frozen=True,
        strict=True,
        defer_build=True,
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Create empty lists and maps in place of copying them, which is twice as fast."""
        for info in cls.__pydantic_fields__.values():
            if info.default == [] or info.default == {}:
                info.default_factory = _no_items if info.default == [] else _no_members
                info.default = PydanticUndefined

    @classmethod
    def parse(cls, wire: dict[str, Any]) -> Self:
        """Read a decoded JSON object; raises pydantic.ValidationError."""
        return cls.model_validate(drop_nulls(wire))

    @classmethod
    def read(cls, wire: dict[str, Any]) -> Self:
        """Read a decoded JSON object without nulls; raises UnreadableError."""
        try:
            return cls.model_validate(wire)
        except ValidationError as err:
            first = err.errors(include_url=False, include_input=False)[0]
            field = ".".join(str(part) for part in first["loc"])
            raise UnreadableError(f"{field}: {first['msg']}") from err

    @classmethod
    def read_page(cls, body: bytes) -> None:
        """Return None: models are read one by one, so that the rest of a list may go on between."""

    def wire(self) -> dict[str, Any]:
        """Return the JSON object of all fields that are set, under their wire names."""
        return self.model_dump(by_alias=True, exclude_unset=True, exclude_none=True)
