"""The way to a value; it becomes text only for an error, so that a long name costs once. Pure."""

from typing import NamedTuple

# Characters of a name that are shown.
_SHOWN = 200


class Place(NamedTuple):
    """A member of an object, or an item of a list, below another place."""

    above: "Place | None" = None
    part: str = ""  # a name, or an index in brackets

    def at(self, part: str) -> "Place":
        """Return the place of a member, or of an item if ``part`` is in brackets."""
        return Place(self, part)

    def item(self, number: int) -> "Place":
        """Return the place of an item of a list."""
        return Place(self, f"[{number}]")

    def key(self, name: str) -> "Place":
        """Return the place of a member of a map."""
        return Place(self, f"[{name[:_SHOWN]}]")

    def __str__(self) -> str:
        parts: list[str] = []
        here: Place | None = self
        while here is not None:
            shown = here.part[:_SHOWN]
            parts.append(shown if not shown or shown[0] == "[" else f".{shown}")
            here = here.above
        return "".join(reversed(parts)).removeprefix(".")


ROOT = Place()
