"""Waits for ready nodes in a fork of the keeper, which has imported the API's client already."""

import json
import signal
import socket

import setproctitle

from control.client import KubeconfigError
from lab import readiness
from lab.credentials import inside_kubeconfig
from lab.requests import WAIT, Line, NotReadyError
from lab.state import LabDir


def serve(lab: LabDir, request: bytes, asker: socket.socket) -> None:
    """Wait as a request says, and tell who asked, line by line; ends when nobody listens."""
    setproctitle.setproctitle(f"podwire lab {lab.name}: waits for nodes")
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)

    def answer(line: Line) -> None:
        asker.sendall(json.dumps(line).encode() + b"\n")

    def say(text: str) -> None:
        answer({"say": text})

    wanted = json.loads(request.removeprefix(WAIT))
    # As a part of the control plane: the user's kubeconfig has an address of the host.
    spec = lab.spec()
    assert spec is not None  # noqa: S101  # the lab runs
    inside = inside_kubeconfig(lab, spec)
    try:
        readiness.wait_ready(lab, wanted["names"], say, since=wanted["since"], kubeconfig=inside)
    except (NotReadyError, KubeconfigError) as err:
        answer({"fail": str(err)})
    else:
        answer({"ready": ""})
