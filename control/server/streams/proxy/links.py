"""Make a link of a proxied page lead through the proxy again. Pure.

Source: Transport.rewriteURL in k8s.io/apimachinery/pkg/util/proxy/transport.go
"""

from posixpath import normpath
from urllib.parse import urlsplit, urlunsplit

from msgspec import Struct


class Links(Struct, frozen=True):
    """The place of a page: ``prefix`` is the path of the proxy, without a final slash."""

    prefix: str
    backend: str  # host:port of the server
    asked: str  # host:port that the client has asked, as its Host header says

    def rewritten(self, url: str) -> str:
        """Return a link to a path of the same server below the prefix; others as they are."""
        try:
            parts = urlsplit(url)
            host = parts.netloc.rpartition("@")[2]
        except ValueError:
            return url
        if host not in ("", self.backend, self.asked) or not parts.path.startswith("/"):
            return url
        if host != self.asked:
            parts = parts._replace(scheme="", netloc="")
        if not parts.path.startswith(self.prefix):
            parts = parts._replace(path=joined(self.prefix, parts.path))
        return urlunsplit(parts)


def joined(prefix: str, path: str) -> str:
    """Return a path below a prefix, without dots and double slashes, with its final slash."""
    whole = normpath(f"{prefix}/{path}").replace("//", "/")
    return whole + "/" if path.endswith("/") and not whole.endswith("/") else whole
