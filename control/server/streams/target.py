"""Translate a stream request to the path and parameters of a Pod's agent. Pure.

Source: the kubelet's server (docs/streams.md), and upstream's pod strategy for the texts.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime

from msgspec import Struct
from multidict import MultiMapping
from yarl import URL

from control.api import field, kinds
from control.api.field import FieldError
from control.api.node import Node
from control.api.pod import Pod
from control.server.wire.errors import StatusError, bad_request, invalid
from control.server.wire.info import is_true

PORT = 10250  # used if a Node names no port
_LOG_OPTIONS = replace(kinds.POD, name="PodLogOptions")
_LEAST = {
    "tailLines": (0, "must be greater than or equal to 0"),
    "limitBytes": (1, "must be greater than 0"),
    "sinceSeconds": (1, "must be greater than 0"),
}
# The name of each stream in the API, and in the kubelet's server.
_STREAMS = {"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"}

Query = MultiMapping[str]


class StreamTarget(Struct, frozen=True):
    """A path and its parameters on an agent."""

    path: str
    parameters: tuple[tuple[str, str], ...] = ()

    def at(self, node: Node) -> URL:
        """Return the URL on a node; raises StatusError if the node has no address."""
        host = node_address(node)
        return URL.build(
            scheme="https", host=host, port=node_port(node), path=self.path, query=self.parameters
        )


def node_address(node: Node) -> str:
    """Return a node's IP address, else a name: node names are seldom in DNS."""
    known = {address.type: address.address for address in reversed(node.status.addresses)}
    for kind in ("InternalIP", "ExternalIP", "InternalDNS", "Hostname"):
        if known.get(kind):
            return known[kind]
    raise StatusError(
        500,
        "InternalError",
        f"node {node.metadata.name} has no address in its status: is its agent running?",
    )


def node_port(node: Node) -> int:
    endpoints = node.status.daemon_endpoints
    agent = endpoints.kubelet_endpoint if endpoints else None
    return agent.port if agent and agent.port else PORT


def log(pod: Pod, query: Query) -> StreamTarget:
    """Translate GET pods/log; raises StatusError."""
    container = container_of(pod, query.get("container", ""))
    flags = [
        (name, "true")
        for name in ("follow", "previous", "timestamps")
        if is_true(query.get(name, "0"))
    ]
    given = [(name, query[name]) for name in (*_LEAST, "sinceTime") if query.get(name)]
    _check_log(pod, dict(given))
    return StreamTarget(_path("containerLogs", pod, container), (*flags, *given))


def _check_log(pod: Pod, given: Mapping[str, str]) -> None:
    numbers = {name: _number(name, given[name]) for name in _LEAST if name in given}
    problems = [
        FieldError(field.INVALID, name, _LEAST[name][1], value)
        for name, value in numbers.items()
        if value < _LEAST[name][0]
    ]
    if "sinceTime" in given:
        _check_time(given["sinceTime"])
    if "sinceTime" in given and "sinceSeconds" in given:
        text = "at most one of `sinceTime` or `sinceSeconds` may be specified"
        problems.append(FieldError(field.FORBIDDEN, "", text))
    if problems:
        raise invalid(_LOG_OPTIONS, pod.metadata.name, problems)


def _number(name: str, text: str) -> int:
    if not (text.removeprefix("-").isdigit() and text.isascii() and len(text) < 19):
        raise bad_request(f'{name}: strconv.ParseInt: parsing "{text}": invalid syntax')
    return int(text)


def _check_time(text: str) -> None:
    try:
        known = datetime.fromisoformat(text)
    except ValueError as err:
        raise bad_request(f'sinceTime: parsing time "{text}": want RFC 3339') from err
    if known.tzinfo is None:
        raise bad_request(f'sinceTime: parsing time "{text}": it names no time zone')


def execute(pod: Pod, query: Query) -> StreamTarget:
    """Translate pods/exec; raises StatusError."""
    commands = [("command", word) for word in query.getall("command", [])]
    return _session("exec", pod, query, commands)


def attach(pod: Pod, query: Query) -> StreamTarget:
    """Translate pods/attach; raises StatusError."""
    return _session("attach", pod, query, [])


def _session(verb: str, pod: Pod, query: Query, more: list[tuple[str, str]]) -> StreamTarget:
    container = container_of(pod, query.get("container", ""))
    streams = [(theirs, "1") for ours, theirs in _STREAMS.items() if is_true(query.get(ours, "0"))]
    return StreamTarget(_path(verb, pod, container), (*more, *streams))


def port_forward(pod: Pod, query: Query) -> StreamTarget:
    """Translate pods/portforward."""
    ports = query.getall("ports", [])
    parameters = (("port", ",".join(ports)),) if ports else ()
    return StreamTarget(_path("portForward", pod), parameters)


def container_of(pod: Pod, name: str) -> str:
    """Return the container that a request names or implies; raises StatusError (400)."""
    spec, pod_name = pod.spec, pod.metadata.name
    names = [container.name for container in (*spec.init_containers, *spec.containers)]
    names += [container.name for container in spec.ephemeral_containers]
    if name and name not in names:
        raise bad_request(f"container {name} is not valid for pod {pod_name}")
    if not name and len(spec.containers) != 1:
        raise bad_request(
            f"a container name must be specified for pod {pod_name}, choose one of: "
            f"[{' '.join(names)}]"
        )
    return name or spec.containers[0].name


def _path(verb: str, pod: Pod, *container: str) -> str:
    return "/".join(("", verb, *pod.key, *container))


TARGETS: dict[str, Callable[[Pod, Query], StreamTarget]] = {
    "log": log,
    "exec": execute,
    "attach": attach,
    "portforward": port_forward,
}
