"""Decides who may see the page: whoever has the token that the terminal shows, once.

Loopback alone is no lock. Every user of the machine reaches it, and so does every page in a browser
there: by a name that resolves to 127.0.0.1 (DNS rebinding: the Host is checked), or by a request
across sites (the Origin is checked, and the cookie is SameSite=Strict).
"""

import secrets
from collections.abc import Awaitable, Callable

from aiohttp import web

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_METHODS = ("GET", "HEAD")
_FETCHED = ("same-origin", "none")  # Sec-Fetch-Site: of the page itself, or typed by the user
_LOCKED = (
    "This page needs the address that podwire web printed, which opens it once.\n"
    "It was opened already, or the cookie is gone: end podwire web and start it again.\n"
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Guard:
    """The lock of one running page."""

    def __init__(self, port: int) -> None:
        self.token: str | None = secrets.token_urlsafe(32)
        self._key = secrets.token_urlsafe(32)
        self._cookie = f"podwire-web-{port}"  # cookies do not tell ports apart
        self._hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost")}

    async def watch(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer a request, or refuse it, with the headers that lock the page in."""
        answer = self._refusal(request) or self._entrance(request) or await handler(request)
        if not answer.prepared:
            answer.headers.update(_HEADERS)
        return answer

    def prepare(self, answer: web.StreamResponse) -> None:
        """Give a stream its headers before it starts."""
        answer.headers.update(_HEADERS)

    def _refusal(self, request: web.Request) -> web.Response | None:
        if request.method not in _METHODS:
            return web.Response(status=405, text="This page only reads.\n")
        if request.headers.get("Host", "") not in self._hosts:
            return web.Response(status=403, text="This page has another name: use 127.0.0.1.\n")
        origin = request.headers.get("Origin")
        ours = origin is None or origin in {f"http://{host}" for host in self._hosts}
        if not ours or request.headers.get("Sec-Fetch-Site", "none") not in _FETCHED:
            return web.Response(status=403, text="Other pages may not read this one.\n")
        return None

    def _entrance(self, request: web.Request) -> web.Response | None:
        """Let a holder of the cookie pass; give one to whoever brings the token."""
        if _same(request.cookies.get(self._cookie), self._key):
            return None
        if request.path != "/" or not _same(request.query.get("token"), self.token):
            return web.Response(status=403, text=_LOCKED)
        self.token = None
        answer = web.Response(status=303, headers={"Location": "/"})
        answer.set_cookie(self._cookie, self._key, httponly=True, samesite="Strict", path="/")
        return answer


def _same(given: str | None, wanted: str | None) -> bool:
    """Compare secrets in a time that does not tell how much of them is right."""
    if given is None or wanted is None:
        return False
    return secrets.compare_digest(given.encode(errors="replace"), wanted.encode())
