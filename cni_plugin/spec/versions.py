"""The versions of the CNI specification, and the verbs of each; pure.

Source: CNI specification 1.1.0, and the release notes of those before it.
"""

from enum import StrEnum

from cni_plugin.spec.errors import IncompatibleVersionError

SUPPORTED = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
# a configuration without a version is of 0.1.0, which had no such field
OLDEST, NEWEST = SUPPORTED[0], SUPPORTED[-1]


class Verb(StrEnum):
    """The operations of a plugin (CNI_COMMAND)."""

    ADD = "ADD"
    DEL = "DEL"
    CHECK = "CHECK"
    GC = "GC"
    STATUS = "STATUS"
    VERSION = "VERSION"


_FIRST = {Verb.CHECK: "0.4.0", Verb.GC: "1.1.0", Verb.STATUS: "1.1.0"}


def at_least(version: str, other: str) -> bool:
    """Return true if a supported version is another one or newer."""
    return SUPPORTED.index(version) >= SUPPORTED.index(other)


def require(verb: Verb, version: str) -> None:
    """Raise IncompatibleVersionError unless ``version`` is known and has ``verb``."""
    if version not in SUPPORTED:
        raise IncompatibleVersionError(
            f"cniVersion {version!r} is not supported", f"supported: {', '.join(SUPPORTED)}"
        )
    if not at_least(version, _FIRST.get(verb, OLDEST)):
        raise IncompatibleVersionError(
            f"{verb} needs cniVersion {_FIRST[verb]} or newer, the configuration says {version}"
        )
