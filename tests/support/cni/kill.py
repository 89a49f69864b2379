"""Runs the plugin in a child process that is killed after a given number of its operations."""

import functools
import io
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cni_plugin.__main__ import main
from cni_plugin.firewall import iptables_tool, libnftables
from cni_plugin.linux import shaping
from cni_plugin.linux.namespace import Namespace, entered
from cni_plugin.linux.netlink import Socket
from tests.support.cni.runner import Node, Pod

# all that changes the kernel or a file
OPERATIONS = [
    (iptables_tool, "run"),
    (Socket, "change"),
    (Namespace, "write_sysctl"),
    (libnftables, "run"),
    (shaping, "limit_rate"),
    (shaping, "redirect_ingress"),
    (Path, "rename"),
    (Path, "symlink_to"),
    (Path, "unlink"),
    (Path, "mkdir"),
    (os, "open"),
    (os, "write"),
    (os, "rename"),
    (os, "symlink"),
    (os, "unlink"),
]


def execute(
    node: Node, pod: Pod, verb: str, conf: dict[str, Any], die_after: int | None = None
) -> int | None:
    """Run the plugin in a child process. Returns its exit code, or None if it was killed."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            code = _in_child(node, pod, verb, conf, die_after)
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return None
    return os.WEXITSTATUS(status)


def _each_table(function: Callable[..., str]) -> Callable[..., str]:
    """Commit one table after the other: iptables may be killed between two."""

    def commit(argv: list[str], text: str, lock: int) -> str:
        *parts, rest = text.split("COMMIT\n")
        return "".join(function(argv, f"{part}COMMIT\n", lock) for part in parts) or function(
            argv, rest, lock
        )

    return commit


def _in_child(node: Node, pod: Pod, verb: str, conf: dict[str, Any], die_after: int | None) -> int:
    if die_after is not None:
        countdown = iter(range(die_after, -1, -1))
        for place, name in OPERATIONS:
            setattr(place, name, _deadly(getattr(place, name), countdown))
        iptables_tool.run = _each_table(iptables_tool.run)
    environment = {
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": pod.container_id,
        "CNI_IFNAME": "eth0",
        "CNI_NETNS": str(pod.space.path),
        "CNI_PATH": "/nowhere",
    }
    out = io.BytesIO()
    home = os.open(node.space.path, os.O_RDONLY)
    with entered(home):
        code = main(environment, io.BytesIO(json.dumps(conf).encode()), out)
    if code:
        os.write(2, out.getvalue())
    return code


def _deadly(function: Callable[..., Any], countdown: Iterator[int]) -> Callable[..., Any]:
    @functools.wraps(function)
    def then_die(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        finally:
            if next(countdown) == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return then_die


def heal(node: Node, pod: Pod, conf: dict[str, Any], healer: str) -> None:
    """Remove what a killed plugin has left, by DEL or GC."""
    document = conf if healer == "DEL" else conf | {"cni.dev/valid-attachments": []}
    assert execute(node, pod, healer, document) == 0
