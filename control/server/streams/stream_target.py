"""Where on which node a stream of a Pod is: the agent's path and parameters. Pure.

Source: the kubelet's server (docs/streams.md), and upstream's pod strategy for the texts.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from multidict import MultiMapping
from yarl import URL

from control.api import field, kinds
from control.api.field import FieldError
from control.api.node import Node
from control.api.pod import Pod
from control.server.wire.errors import StatusError, bad_request, invalid
from control.server.wire.info import is_true

PORT = 10250  # of an agent that does not say its own
_LOG_OPTIONS = replace(kinds.POD, name="PodLogOptions")
_LEAST = {
    "tailLines": (0, "must be greater than or equal to 0"),
    "limitBytes": (1, "must be greater than 0"),
    "sinceSeconds": (1, "must be greater than 0"),
}
# The API's names of a session's streams, and the kubelet's.
_STREAMS = {"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"}

Query = MultiMapping[str]


@dataclass(frozen=True, slots=True)
class Target:
    """What to ask an agent for."""

    path: str
    parameters: tuple[tuple[str, str], ...] = ()

    def at(self, node: Node) -> URL:
        """Its URL on a node; raises StatusError when the node has no address."""
        host = _address(node)
        return URL.build(
            scheme="https", host=host, port=_port(node), path=self.path, query=self.parameters
        )


def _address(node: Node) -> str:
    """An address before a name: nodes' names are seldom in anybody's DNS."""
    known = {it.type: it.address for it in reversed(node.status.addresses)}
    for kind in ("InternalIP", "ExternalIP", "InternalDNS", "Hostname"):
        if known.get(kind):
            return known[kind]
    raise StatusError(
        500,
        "InternalError",
        f"node {node.metadata.name} has no address in its status: is its agent running?",
    )


def _port(node: Node) -> int:
    endpoints = node.status.daemon_endpoints
    agent = endpoints.kubelet_endpoint if endpoints else None
    return agent.port if agent and agent.port else PORT


def log(pod: Pod, query: Query) -> Target:
    """GET pods/log; raises StatusError."""
    container = container_of(pod, query.get("container", ""))
    flags = [
        (name, "true")
        for name in ("follow", "previous", "timestamps")
        if is_true(query.get(name, ""))
    ]
    given = [(name, query[name]) for name in (*_LEAST, "sinceTime") if query.get(name)]
    _check_log(pod, dict(given))
    return Target(_path("containerLogs", pod, container), (*flags, *given))


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


def execute(pod: Pod, query: Query) -> Target:
    """pods/exec; raises StatusError."""
    commands = [("command", word) for word in query.getall("command", [])]
    return _session("exec", pod, query, commands)


def attach(pod: Pod, query: Query) -> Target:
    """pods/attach; raises StatusError."""
    return _session("attach", pod, query, [])


def _session(verb: str, pod: Pod, query: Query, more: list[tuple[str, str]]) -> Target:
    container = container_of(pod, query.get("container", ""))
    streams = [(theirs, "1") for ours, theirs in _STREAMS.items() if is_true(query.get(ours, ""))]
    return Target(_path(verb, pod, container), (*more, *streams))


def port_forward(pod: Pod, query: Query) -> Target:
    """pods/portforward."""
    ports = query.getall("ports", [])
    parameters = (("port", ",".join(ports)),) if ports else ()
    return Target(_path("portForward", pod), parameters)


def container_of(pod: Pod, name: str) -> str:
    """The container that a request means; raises StatusError (400) unless that is certain."""
    spec, pod_name = pod.spec, pod.metadata.name
    ephemeral = [str(it.get("name", "")) for it in spec.ephemeral_containers]
    names = [it.name for it in (*spec.init_containers, *spec.containers)] + ephemeral
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


TARGETS: dict[str, Callable[[Pod, Query], Target]] = {
    "log": log,
    "exec": execute,
    "attach": attach,
    "portforward": port_forward,
}
