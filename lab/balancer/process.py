"""The balancer's process, and its sockets, which outlive it: who connects meanwhile waits."""

import asyncio
import logging
import resource
import socket
import ssl
import sys
import time
from collections.abc import Callable, Collection

import setproctitle

from control.balancer.backend import Backend
from control.balancer.relay import Relay
from lab.balancer import names
from lab.credentials import balancer_kubeconfig
from lab.parts import control_machines
from lab.spec import API_PORT, MANAGEMENT_FD, LabSpec
from lab.state import LabDir

TITLE = "podwire balancer "
_BACKLOG = 1024
_DESCRIPTORS = 8192
_PAUSE = 1.0  # seconds until one that has failed is made again

Fork = Callable[[Callable[[], None], Collection[int]], int]
"""Runs a function in a new process that keeps some files, and returns its process ID."""


class Balancer:
    """What the lab's first process has of the balancer; it does nothing for one API server."""

    def __init__(self, lab: LabDir, spec: LabSpec, fork: Fork) -> None:
        """Open the socket in this network, which must be the switch's; raises OSError."""
        self._lab, self._spec, self._fork = lab, spec, fork
        self._pid = 0
        self._socket = _listen(spec) if spec.is_balanced else None

    def keep(self, ended: Collection[int] = ()) -> None:
        """Start the process, unless it runs; ``ended`` are those that have ended."""
        if self._socket is None or (self._pid and self._pid not in ended):
            return
        fds = {MANAGEMENT_FD, self._socket.fileno()}
        self._pid = self._fork(lambda: _run(self._lab, self._spec, fds), fds)


def _listen(spec: LabSpec) -> socket.socket:
    family = socket.AF_INET6 if 6 in spec.families else socket.AF_INET
    return socket.create_server(
        ("", API_PORT), family=family, backlog=_BACKLOG, dualstack_ipv6=6 in spec.families
    )


def _run(lab: LabDir, spec: LabSpec, fds: Collection[int]) -> None:
    setproctitle.setproctitle(f"{TITLE}{lab.name}")
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(message)s")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(_DESCRIPTORS, most), most))
    try:
        asyncio.run(_serve(lab, spec, [socket.socket(fileno=fd) for fd in fds]))
    except (OSError, ExceptionGroup) as err:
        logging.getLogger(__name__).exception("the balancer of the API servers: %s", err)
        time.sleep(_PAUSE)


async def _serve(lab: LabDir, spec: LabSpec, sockets: Collection[socket.socket]) -> None:
    relay = Relay()
    machines = control_machines(spec)
    relay.backends = [Backend(each.name, each.ips[0], relay.changed) for each in machines]
    tls = ssl.create_default_context(cafile=str(lab.path / "pki" / "ca.crt"))
    async with asyncio.TaskGroup() as tasks:
        for backend in relay.backends:
            tasks.create_task(backend.follow(tls))
        for listening in sockets:
            listening.setblocking(False)
            tasks.create_task(relay.serve(listening))
        tasks.create_task(names.follow(balancer_kubeconfig(lab), spec, relay))
