"""A request as aiohttp reads it, with what becomes known of it while it is answered."""

import asyncio
from collections.abc import Callable
from functools import partial

from aiohttp import web

from control.server.access.audit import AUDIT_ID, AuditEntry, AuditLog, audit_id
from control.server.access.door import Visit
from control.server.access.impersonation import header_text
from control.server.wire.info import RequestInfo
from control.server.wire.request import Notes
from control.server.wire.response import warning_headers

# aiohttp warns of other attributes in Python's development mode.
_OWN = (
    *("asked", "audit_id", "deprecation", "entry", "flow", "json_said", "notes", "visit"),
    "warning",
)


class ServerRequest(web.Request):
    """One request.

    There is no ``web.Application`` around the handler: its router, for a single route, would cost
    each request 5 % of its time.
    """

    ATTRS = web.Request.ATTRS | frozenset(_OWN)

    asked: RequestInfo | None = None  # what it asks for, if that is a kind
    audit_id: str = ""
    deprecation: str = ""  # the warning of its kind
    entry: AuditEntry | None = None  # None: there is no audit log
    flow: tuple[str, str] = ("", "")  # the UIDs of its flow schema and priority level
    json_said: bytes = b""  # the JSON of an answer in YAML
    notes: Notes | None = None  # what admission says
    visit: Visit | None = None  # its connection
    warning: str = ""  # of its credentials

    def arrive(self, log: AuditLog | None) -> None:
        """Note its connection, and name its event."""
        protocol = self.transport.get_protocol() if self.transport else None
        self.visit = protocol if isinstance(protocol, Visit) else None
        self.audit_id = audit_id(self.headers.get(AUDIT_ID, ""))
        if log is not None:
            agent = header_text(self.headers.get("User-Agent", ""))
            uri, source = str(self.rel_url), self.remote or ""
            self.entry = AuditEntry(log, uri, source, agent, self.audit_id)

    async def _prepare_hook(self, response: web.StreamResponse) -> None:
        """Name the request's audit event in the headers of its answer, of whatever sort it is.

        aiohttp calls this before each answer's headers go out. As upstream's, no cache between
        client and server may keep it, unless it says otherwise. Each answer on a deprecated kind
        also has the warning of it.
        """
        headers = response.headers
        headers.setdefault("Cache-Control", "no-cache, private")
        headers[AUDIT_ID] = self.audit_id or audit_id("")
        if self.notes is not None and self.notes.warnings:
            headers.extend(warning_headers(self.notes.warnings))
        if self.flow[0]:
            headers["X-Kubernetes-PF-FlowSchema-UID"] = self.flow[0]
            headers["X-Kubernetes-PF-PriorityLevel-UID"] = self.flow[1]
        if self.deprecation or self.warning:
            others = headers.popall("Warning", [])  # upstream's filter speaks first
            headers.extend(warning_headers([self.warning, self.deprecation]))
            headers.extend(("Warning", text) for text in others)

    def first_values(self) -> dict[str, str]:
        """Return the first value of each parameter; of ``dryRun``, all of them."""
        query = dict(self.query)
        if "dryRun" in query:
            query["dryRun"] = ",".join(self.query.getall("dryRun"))
        return query

    def cut(self) -> None:
        """Close the client's connection without waiting for unsent data."""
        if self.transport is not None:
            self.transport.abort()


def request_factory(limit: int) -> Callable[..., ServerRequest]:
    """Return what makes the requests of a server; ``limit`` is the most bytes of a body."""
    return partial(ServerRequest, loop=asyncio.get_running_loop(), client_max_size=limit)
