"""Which findings are asked for: those of a Service, those of a Pod. Pure."""

from dataclasses import dataclass

from msgspec import Struct

_PLACES = ("client", "sender", "place", "owner", "server_owner")  # where findings have a Pod


@dataclass(frozen=True, slots=True)
class Wanted:
    """A filter; what is empty admits all."""

    service: str = ""  # NAMESPACE/NAME
    pod: str = ""  # NAMESPACE/NAME

    def admits(self, one: Struct) -> bool:
        """Return whether a finding is of the Service, and has the Pod at either end."""
        if self.service and self.service not in _services(getattr(one, "service", "")):
            return False
        who = {getattr(one, name, "") for name in _PLACES}
        return not self.pod or f"Pod {self.pod}" in who


def _services(text: str) -> set[str]:
    """Return the Services of a text such as "default/web:http or default/all"."""
    return {name.partition(":")[0] for name in text.split(" or ")}


def key(text: str) -> str:
    """Return a namespace and a name; without a namespace it is default."""
    return text if not text or "/" in text else f"default/{text}"
