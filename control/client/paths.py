"""The URL paths of objects.

Names come from objects, and extension servers write theirs as they like. A name with ``..`` would
make another path of a request: URLs are normalized before they are sent. client-go refuses the same
names.
"""

from urllib.parse import quote

from control.api.kind import Kind, M
from control.api.validation.text import path_segment
from control.client.errors import InvalidNameError

# What stands in a segment as it is (RFC 3986, pchar); "%" is refused.
_PLAIN = "!$&'()*+,;=:@"


def path_of(kind: Kind[M], namespace: str | None, name: str | None = None, sub: str = "") -> str:
    """Return the path of a collection, an object or a subresource; raises InvalidNameError."""
    if name is not None:
        name = _segment(kind, "name", name)
    return kind.path(_segment(kind, "namespace", namespace) if namespace else None, name, sub)


def _segment(kind: Kind[M], what: str, text: str) -> str:
    wrong = path_segment(text) if text else ["may not be empty"]
    if wrong:
        raise InvalidNameError(f"{kind.name}: {what} {text[:80]!r} {' and '.join(wrong)}")
    return quote(text, safe=_PLAIN)
