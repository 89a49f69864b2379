"""A request on a kind, parsed once when it arrives."""

import dataclasses
import logging
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from control.api.field import FieldError, invalid, not_supported, too_long
from control.api.validation.text import qualified_name
from control.server.wire.accept import Representation, RepresentationKind
from control.server.wire.body import Body
from control.server.wire.errors import StatusError, bad_request, invalid_options
from control.server.wire.info import RequestInfo, is_true

logger = logging.getLogger(__name__)
_NOTED = 256 * 1024  # bytes, as of an object's annotations
# The agent of what the server itself writes.
SERVER_AGENT = "kube-apiserver"
_MANAGER_BYTES = 128
_OPTIONS = {
    "create": "CreateOptions",
    "update": "UpdateOptions",
    "delete": "DeleteOptions",
    "deletecollection": "DeleteOptions",
}
_WHOLE = re.compile(r"[+-]?[0-9]+")
_DIGITS = 21  # more than any number of 64 bits has; Python reads at most 4,300
_INCLUDED = ("", "Metadata", "None", "Object")
_INCLUDES = "must be 'Metadata', 'Object', 'None', or empty"
_MODES = ("", "Ignore", "Strict", "Warn")


@dataclasses.dataclass(frozen=True, slots=True)
class User:
    """The user that a request comes from, and the user's groups.

    ``warning`` is of the credentials, for whoever uses them.
    """

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    warning: str = dataclasses.field(default="", compare=False)

    def wire(self) -> dict[str, Any]:
        """Return the authentication.k8s.io/v1 UserInfo."""
        extra = {name: list(values) for name, values in self.extra.items()}
        made = {"username": self.name, "uid": self.uid, "groups": list(self.groups), "extra": extra}
        return {name: value for name, value in made.items() if value}

    @property
    def anonymous(self) -> bool:
        """True for the user of requests without credentials."""
        return self.name == "system:anonymous"


# This server itself, for its own writes; no request of a client has this very object.
SELF = User("system:apiserver", ("system:masters",))


class Notes(Struct):
    """What admission says of a request: warnings, and words for the audit log."""

    warnings: list[str] = field(default_factory=list)
    annotations: dict[str, str] = field(default_factory=dict)
    room: int = _NOTED  # bytes of annotations yet

    def annotate(self, key: str, value: str) -> None:
        """Note something for the audit log by a qualified name with a prefix, and once.

        What is no such name, what was said otherwise before, and what is too much is left out.
        Source: k8s.io/apiserver/pkg/admission/attributes.go
        """
        size = len(key.encode()) + len(value.encode())
        if key.count("/") != 1 or qualified_name(key) or size > self.room:
            logger.warning("audit annotation %.100r (%d bytes) is left out", key, size)
        elif self.annotations.setdefault(key, value) is value:
            self.room -= size


class ApiRequest(Struct, frozen=True):
    """One request on a kind: its verb and object, its user, its decoded body."""

    info: RequestInfo
    user: User
    query: Mapping[str, str] = field(default_factory=dict)
    body: Body = field(default_factory=Body)
    representation: Representation = field(default_factory=Representation)
    agent: str = ""  # the User-Agent of the client
    # Why the user may not create the object of an apply or an update; None if the user may.
    no_create: StatusError | None = None
    notes: Notes = field(default_factory=Notes)
    # True while an object is made that may be changed yet, and for the server's own new ones: it is
    # completed, and not validated.
    unchecked: bool = False

    @property
    def dry_run(self) -> bool:
        """True if nothing may be written; raises StatusError (422) for any value but All."""
        if "dryRun" not in self.query:
            return False
        values = self.query["dryRun"].split(",")
        if set(values) != {"All"}:
            raise self.invalid_options([not_supported("dryRun", values, ["All"])])
        return True

    @property
    def manager(self) -> str:
        """The manager of the fields that a write sets, by the query or the User-Agent.

        Raises StatusError (422) for one that is too long or cannot be printed.
        """
        given = self.query.get("fieldManager", "")
        if not given:
            return _manager_of_agent(self.agent)
        found = []
        if len(given.encode()) > _MANAGER_BYTES:
            found.append(too_long("fieldManager", _MANAGER_BYTES))
        for at, sign in enumerate(given):
            if not sign.isprintable():
                why = f"invalid character U+{ord(sign):04X} (at position {at})"
                found.append(invalid("fieldManager", given, why))
        if found:
            raise self.invalid_options(found)
        return given

    @property
    def field_validation(self) -> str:
        """Ignore, Warn or Strict; raises StatusError (422)."""
        mode = self.query.get("fieldValidation", "")
        if mode not in _MODES:
            raise self.invalid_options([not_supported("fieldValidation", mode, _MODES)])
        return mode or "Warn"

    def check_options(self) -> None:
        """Refuse values that no option of a write has, whatever it writes; raises StatusError."""
        _ = self.dry_run, self.field_validation, self.manager

    def invalid_options(self, found: Sequence[FieldError]) -> StatusError:
        """Return the error (422) of the options of a request, such as CreateOptions."""
        return invalid_options(_OPTIONS.get(self.info.verb, "PatchOptions"), found)

    def require_create(self) -> None:
        """Refuse an apply or an update that would create its object; raises StatusError (403)."""
        if self.no_create is not None:
            raise self.no_create

    def decoded(self) -> "ApiRequest":
        """Return the same request with a decoded body; raises StatusError (400, 413, 415)."""
        return replace(self, body=self.body.decoded()) if self.body.waiting else self

    def named(self, name: str) -> "ApiRequest":
        """Return the same request on the object of this name."""
        return replace(self, info=replace(self.info, name=name))

    def flag(self, name: str) -> bool:
        """Return a boolean query parameter."""
        return is_true(self.query.get(name, "0"))

    def number(self, name: str, default: int = 0) -> int:
        """Return a query parameter that is a whole number; raises StatusError (400)."""
        text = self.query.get(name)
        if text is None:
            return default
        number = whole_number(text)
        if number is None:
            raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
        if not -(2**63) <= number < 2**63:
            raise bad_request(f'strconv.ParseInt: parsing "{text}": value out of range')
        return number

    def version(self) -> int:
        """Return the query's ``resourceVersion``; 0 if there is none; raises StatusError (400)."""
        text = self.query.get("resourceVersion", "")
        if not text:
            return 0
        if text.isascii() and text.isdigit() and len(text) < 19:
            return int(text)
        raise bad_request(f"invalid resource version: {wrong_version(text)}")

    def exact_version(self) -> int:
        """Return the same for one object or a watch, where upstream calls it its own fault.

        Raises StatusError (500).
        """
        try:
            return self.version()
        except StatusError as err:
            why = wrong_version(self.query["resourceVersion"])
            raise StatusError(500, "", why) from err

    def check_table(self) -> None:
        """Refuse an ``includeObject`` that no Table has; raises StatusError (400)."""
        given = self.query.get("includeObject", "")
        if self.representation.kind is RepresentationKind.TABLE and given not in _INCLUDED:
            why = str(invalid("includeObject", given, _INCLUDES))
            raise bad_request(f"Unable to convert to Table as requested: {why}")

    def check_numbers(self) -> None:
        """Refuse numbers of a list's or a watch's options that are none; raises StatusError."""
        for name in ("timeoutSeconds", "limit"):
            self.number(name)


def whole_number(text: str) -> int | None:
    """Return a number in decimal digits; None for any other text.

    Of a number with more digits than one of 64 bits, only the first ones count.
    """
    if not _WHOLE.fullmatch(text):
        return None
    number = int(text.lstrip("+-0")[:_DIGITS] or "0")
    return -number if text.startswith("-") else number


def wrong_version(text: str) -> str:
    """Say what is wrong with a ``resourceVersion``, in Go's words."""
    why = "value out of range" if text.isascii() and text.isdigit() else "invalid syntax"
    return f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": {why}'


@lru_cache(maxsize=256)
def _manager_of_agent(agent: str) -> str:
    """Return the first word of a User-Agent, as far as it can be printed and is not too long."""
    text = "".join(sign for sign in agent.partition("/")[0] if sign.isprintable())
    return text.encode()[:_MANAGER_BYTES].decode(errors="ignore")
