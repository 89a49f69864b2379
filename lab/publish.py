"""Publishes a Service's port on the host, by a socket of podwire's own.

The command opens the socket in the host's network and hands it to the keeper, whose fork answers on
it and dials inside the lab (lab/forward.py). No link, address or rule joins the two networks.
"""

import asyncio
import ipaddress
import os
import signal
import socket
from dataclasses import dataclass
from pathlib import Path

from control.api import kinds
from control.api.service import Service
from control.client import ApiError, Client
from control.reported import ReportedError
from lab.forward import port_of
from lab.goals import REQUEST, Goal, Published
from lab.parts import node_machines
from lab.state import LabDir
from lab.status import published

_SECONDS = 60.0
_FORM = "write it as 8080:web:80, or as 127.0.0.1:8080:default/web:http/udp"
_SOCKETS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


class PublishError(ReportedError):
    """A port cannot be published; the text says which, why, and what to do."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a user asks for: a host's address and port, and a Service's port."""

    address: str
    port: int
    goal: Goal


def parse(text: str) -> Request:
    """Read ``[ADDRESS:]PORT:[NAMESPACE/]SERVICE:PORT[/udp]``; raises PublishError."""
    rest, _, protocol = text.rpartition("/")
    if protocol not in _SOCKETS:
        rest, protocol = text, "tcp"
    front, _, port = rest.rpartition(":")
    front, _, service = front.rpartition(":")
    address, _, host_port = front.rpartition(":")
    namespace, _, name = service.rpartition("/")
    if not (name and port and host_port.isascii() and host_port.isdecimal()):
        raise PublishError(f"{text!r}: {_FORM}")
    if not 0 <= int(host_port) <= 65535:
        raise PublishError(f"{text!r}: port {host_port}: want 1 to 65535, or 0 for any free one")
    try:
        host = ipaddress.ip_address(address.strip("[]") or "127.0.0.1")
    except ValueError as err:
        raise PublishError(f"{text!r}: {err}; {_FORM}") from err
    return Request(str(host), int(host_port), Goal(namespace or "default", name, port, protocol))


def written(one: Request | Published) -> str:
    """Return the text that ``parse`` reads."""
    host = f"[{one.address}]" if ":" in one.address else one.address
    goal = one.goal
    return f"{host}:{one.port}:{goal.namespace}/{goal.service}:{goal.port}/{goal.protocol}"


def publish(lab: LabDir, request: Request) -> Published:
    """Publish a port until the lab ends, or until ``remove``; raises PublishError, ClientError."""
    asyncio.run(_check(lab.kubeconfig, request.goal))
    with _listen(request) as listening:
        address, port = listening.getsockname()[:2]
        made = Published(address, port, request.goal)
        answer = _ask(lab, made, listening)
    if answer != "ok":
        raise PublishError(f"{made}: {answer or 'the lab does not answer'}")
    return made


def remove(lab: LabDir, request: Request) -> Published:
    """End what publishes a port; raises PublishError if nothing does."""
    wanted = request.address, request.port, request.goal.protocol
    every = published(lab)
    for pid, one in every.items():
        if (one.address, one.port, one.goal.protocol) == wanted:
            os.kill(pid, signal.SIGTERM)
            return one
    there = ", ".join(map(str, every.values())) or "nothing"
    raise PublishError(f"{request.address}:{request.port} is not published; published are: {there}")


async def _check(kubeconfig: Path, goal: Goal) -> None:
    """Raise PublishError if the Service or its port does not exist, or has no address."""
    async with Client.from_kubeconfig(kubeconfig) as client:
        try:
            service: Service = await client.get(kinds.SERVICE, goal.namespace, goal.service)
        except ApiError as err:
            if not err.not_found:
                raise
            raise PublishError(
                f"namespace {goal.namespace} has no Service {goal.service}; see: kubectl get "
                f"services -n {goal.namespace}"
            ) from err
    if port_of(service, goal) is None:
        have = ", ".join(f"{p.name or p.port} ({p.port}/{p.protocol})" for p in service.spec.ports)
        raise PublishError(
            f"Service {goal.namespace}/{goal.service} has no port {goal.port} of "
            f"{goal.protocol.upper()}; it has {have or 'none'}"
        )
    if service.spec.cluster_ip in (None, "", "None"):
        raise PublishError(
            f"Service {goal.namespace}/{goal.service} has no address: it is headless, or an "
            "ExternalName; publish a Service with a clusterIP"
        )


def _listen(request: Request) -> socket.socket:
    family = socket.AF_INET6 if ":" in request.address else socket.AF_INET
    opened = socket.socket(family, _SOCKETS[request.goal.protocol])
    try:
        if request.goal.protocol == "tcp":
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((request.address, request.port))
        if request.goal.protocol == "tcp":
            opened.listen(128)
    except OSError as err:
        opened.close()
        raise PublishError(
            f"{request.address}:{request.port}: {err.strerror}; choose another port or address"
        ) from err
    return opened


def _ask(lab: LabDir, wanted: Published, listening: socket.socket) -> str:
    """Hand the socket to the keeper; return its answer."""
    spec = lab.spec()
    nodes = node_machines(spec) if spec else ()
    files = [lab.machine(node.name) / "etc/proxy.kubeconfig" for node in nodes]
    inside = next((file for file in files if file.exists()), None)
    if inside is None:
        raise PublishError(f"lab {lab.name} has no node, so nothing answers for a Service")
    message = REQUEST + wanted.encode(inside)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_SECONDS)
        try:
            connection.connect(os.fspath(lab.requests))
            socket.send_fds(connection, [message], [listening.fileno()])
            connection.shutdown(socket.SHUT_WR)
            return connection.makefile().read()
        except OSError as err:
            raise PublishError(
                f"the first process of lab {lab.name} does not answer: {err}; make the lab anew "
                "with lab down and lab up"
            ) from err
