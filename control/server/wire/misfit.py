"""Refuse a body of another kind than that of its URL, in upstream's words. Pure.

Source: the converter and UnversionedObjectTyper of k8s.io/apimachinery/pkg/runtime.
"""

from control.api.kinds import SERVED, Kind
from control.server.wire.errors import StatusError, bad_request

_KNOWN = {(kind.api_version, kind.name) for kind in SERVED}
# Where upstream's programs register their kinds, which their words name.
_SCHEME = "pkg/api/legacyscheme/scheme.go:30"
_OWN_SCHEMES = {
    "apiextensions.k8s.io": "pkg/apiserver/apiserver.go:55",
    "apiregistration.k8s.io": "pkg/apiserver/scheme/scheme.go:28",
}


def misfit(kind: Kind, version: str, name: str) -> StatusError:
    """Return the refusal of an object of ``name`` and API ``version`` that is not of a kind."""
    if kind.custom is None and not _converts(kind, version, name):
        return bad_request(
            f'{name} in version "{version.rpartition("/")[2]}" cannot be handled as a {kind.name}:'
            f" {_why(kind, version, name)}"
        )
    if version != kind.api_version:
        return bad_request(
            f"the API version in the data ({version}) does not match the expected API version"
            f" ({kind.api_version})"
        )
    return bad_request(
        f"the kind in the data ({name}) does not match the expected kind ({kind.name})"
    )


def _converts(kind: Kind, version: str, name: str) -> bool:
    """Return True for another version of the kind: upstream converts these, and refuses them then.

    Versions before v1 are no more served, and known to upstream all the same.
    """
    group = version.rpartition("/")[0]
    is_early = "alpha" in version or "beta" in version
    same_group = group in (kind.group, "extensions")
    return name == kind.name and ((version, name) in _KNOWN or (same_group and is_early))


def _why(kind: Kind, version: str, name: str) -> str:
    scheme = _OWN_SCHEMES.get(kind.group)
    is_known = (version, name.removesuffix("List")) in _KNOWN or (version, name) == ("v1", "List")
    if not is_known or (scheme and version.rpartition("/")[0] != kind.group):
        return (
            f'no kind "{name}" is registered for version "{version}"'
            f' in scheme "{scheme or _SCHEME}"'
        )
    package = kind.group.partition(".")[0] or "core"
    found = f"({version.rpartition('/')[2]}.{name}) to ({package}.{kind.name})"
    return f"converting {found}: unknown conversion"
