"""An extension API server in one file, of Python's standard library: see docs/aggregation.md.

It keeps Greetings (greet.example.com/v1) in memory, and says how many there are in a namespace as
the external metric ``greeting-count``. It asks for the certificate of the API server's front proxy;
so whoever gets through has been authenticated and authorized there, and is named in X-Remote-User.
"""

import json
import os
import ssl
import sys
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from http.client import HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

GREETINGS = "greet.example.com/v1"
METRICS = "external.metrics.k8s.io/v1beta1"
METRIC = "greeting-count"
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
VERBS = ["create", "delete", "deletecollection", "get", "list", "watch"]
RESOURCES = {
    GREETINGS: {
        "name": "greetings",
        "singularName": "greeting",
        "namespaced": True,
        "kind": "Greeting",
        "verbs": VERBS,
    },
    METRICS: {
        "name": METRIC,
        "singularName": "",
        "namespaced": True,
        "kind": "ExternalMetricValueList",
        "verbs": ["get"],
    },
}
Wire = dict[str, Any]


class RefusedError(Exception):
    """A request that fails: its code, reason and message."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason = code, reason


class Greetings:
    """All objects by namespace and name, and their changes, for watches."""

    def __init__(self) -> None:
        self._objects: dict[tuple[str, str], Wire] = {}
        self._changes: list[tuple[int, str, Wire]] = []
        self._changed = threading.Condition()
        self._closed = False

    def close(self) -> None:
        """End all watches."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def within(self, namespace: str) -> tuple[list[Wire], int]:
        """Return the objects of a namespace, or of all, and the present version."""
        with self._changed:
            found = [it for (where, _), it in self._objects.items() if namespace in ("", where)]
            return found, len(self._changes)

    def one(self, namespace: str, name: str) -> Wire:
        with self._changed:
            if (found := self._objects.get((namespace, name))) is not None:
                return found
        raise RefusedError(404, "NotFound", f'greetings.greet.example.com "{name}" not found')

    def create(self, namespace: str, given: Wire) -> Wire:
        meta = given.setdefault("metadata", {})
        key = namespace, meta.get("name") or ""
        if not key[1]:
            raise RefusedError(422, "Invalid", "metadata.name: Required value")
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        meta |= {"namespace": namespace, "uid": str(uuid.uuid4()), "creationTimestamp": now}
        with self._changed:
            if key in self._objects:
                raise RefusedError(409, "AlreadyExists", f'greeting "{key[1]}" already exists')
            self._objects[key] = given | {"apiVersion": GREETINGS, "kind": "Greeting"}
            return self._say("ADDED", self._objects[key])

    def delete(self, namespace: str, name: str) -> Wire:
        with self._changed:
            found = self.one(namespace, name)
            del self._objects[namespace, name]
            return self._say("DELETED", found)

    def _say(self, what: str, wire: Wire) -> Wire:
        version = len(self._changes) + 1
        wire["metadata"]["resourceVersion"] = str(version)
        self._changes.append((version, what, wire))
        self._changed.notify_all()
        return wire

    def _is_news(self, version: int) -> bool:
        return self._closed or len(self._changes) > version

    def after(self, version: int, namespace: str, seconds: float) -> Iterator[tuple[str, Wire]]:
        """Yield the changes after a version, until there is none for some seconds."""
        while True:
            with self._changed:
                news = self._changed.wait_for(partial(self._is_news, version), seconds)
                if self._closed or not news:
                    return
                new = self._changes[version:]
            version += len(new)
            for _, what, wire in new:
                if namespace in ("", wire["metadata"]["namespace"]):
                    yield what, wire


class Handler(BaseHTTPRequestHandler):
    """One connection of the API server."""

    protocol_version = "HTTP/1.1"
    greetings = Greetings()

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except ConnectionError:  # the API server has gone
            self.close_connection = True

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def _answer(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            found = self._find(url.path.strip("/").split("/"), query, body)
        except RefusedError as err:
            status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": err.code}
            self._send(status | {"reason": err.reason, "message": str(err)}, err.code)
        else:
            if found is not None:
                self._send(found, 201 if self.command == "POST" else 200)

    def _find(self, parts: list[str], query: dict[str, str], body: bytes) -> Wire | None:
        at = "/".join(parts[1:3])
        if parts[0] != "apis" or at not in RESOURCES:
            raise RefusedError(404, "NotFound", "the server could not find the requested resource")
        rest = parts[3:]
        if not rest:
            head = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": at}
            return head | {"resources": [RESOURCES[at]]}
        namespace = ""
        if rest[0] == "namespaces" and len(rest) > 2:
            namespace, rest = rest[1], rest[2:]
        if rest[0] != RESOURCES[at]["name"]:
            raise RefusedError(404, "NotFound", "the server could not find the requested resource")
        if at == METRICS:
            return self._metric(namespace)
        return self._greeting(namespace, rest[1] if len(rest) > 1 else "", query, body)

    def _metric(self, namespace: str) -> Wire:
        count = len(self.greetings.within(namespace)[0])
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        value = {"metricName": METRIC, "metricLabels": {}, "timestamp": now}
        head = {"kind": "ExternalMetricValueList", "apiVersion": METRICS, "metadata": {}}
        return head | {"items": [value | {"value": str(count)}]}

    def _greeting(
        self, namespace: str, name: str, query: dict[str, str], body: bytes
    ) -> Wire | None:
        found, version = self.greetings.within(namespace)
        if self.command == "POST":
            made = json.loads(body)
            made["greeter"] = self.headers.get("X-Remote-User")
            return self.greetings.create(namespace, made)
        if self.command == "DELETE":
            for wire in [self.greetings.one(namespace, name)] if name else found:
                self.greetings.delete(namespace, wire["metadata"]["name"])
            return {"kind": "Status", "apiVersion": "v1", "status": "Success"}
        if query.get("watch") in ("true", "1"):
            begin = int(query.get("resourceVersion") or version)
            self._watch(begin, namespace, float(query.get("timeoutSeconds") or 300))
            return None
        if name:
            return self.greetings.one(namespace, name)
        head = {"kind": "GreetingList", "apiVersion": GREETINGS}
        return head | {"metadata": {"resourceVersion": str(version)}, "items": found}

    def _watch(self, version: int, namespace: str, seconds: float) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for what, wire in self.greetings.after(version, namespace, seconds):
            line = json.dumps({"type": what, "object": wire}).encode() + b"\n"
            self.wfile.write(b"%x\r\n%b\r\n" % (len(line), line))
        self.wfile.write(b"0\r\n\r\n")

    def _send(self, wire: Wire, code: int) -> None:
        body = json.dumps(wire).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def front_proxy() -> str:
    """Return the authority of the API server's front proxy, which it publishes."""
    address = os.environ["KUBERNETES_SERVICE_HOST"], int(os.environ["KUBERNETES_SERVICE_PORT"])
    path = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
    trust = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    connection = HTTPSConnection(*address, context=trust, timeout=10)
    token = (ACCOUNT / "token").read_text()
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
    published = json.load(connection.getresponse())["data"]
    connection.close()
    return str(published["requestheader-client-ca-file"])


def server(port: int, certificate: Path, key: Path, authority: str) -> ThreadingHTTPServer:
    """Make a server; ``authority`` (PEM) has signed the certificate of whoever may ask."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(cadata=authority)
    context.verify_mode = ssl.CERT_REQUIRED
    made = ThreadingHTTPServer(("", port), Handler)
    made.socket = context.wrap_socket(made.socket, server_side=True, do_handshake_on_connect=False)
    return made


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    server(8443, folder / "tls.crt", folder / "tls.key", front_proxy()).serve_forever()
