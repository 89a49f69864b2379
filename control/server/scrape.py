"""Ask the agents of all nodes what is used, at intervals, as metrics-server does.

An agent's answer is text for Prometheus, with the kubelet's path and names. A node that does not
answer has no metrics until it does. Source: https://github.com/kubernetes-sigs/metrics-server
"""

import asyncio
import logging
import math

import aiohttp

from control.api.kinds import NODE
from control.api.node import Node
from control.api.wire import UnreadableError
from control.server.state.measured import NodeSamples, Pod, Sample
from control.server.state.server import ServerState
from control.server.streams.agents import agent_tls
from control.server.streams.target import StreamTarget
from control.server.wire.errors import StatusError
from control.server.wire.exposition import MetricSample, samples

logger = logging.getLogger(__name__)

INTERVAL = 15.0  # metrics-server's --metric-resolution
_SECONDS = 10.0
_AT_ONCE = 16
_MOST_BYTES = 8 * 1024 * 1024
_TARGET = StreamTarget("/metrics/resource")
_CPU, _MEMORY = "cpu_usage_seconds_total", "memory_working_set_bytes"


class ScrapeError(Exception):
    """A node's agent gave no answer that can be read."""


async def scrape(state: ServerState, interval: float = INTERVAL) -> None:
    """Measure all nodes every ``interval`` seconds, for ever."""
    if state.config.kubelet_client is None or state.config.client_ca is None:
        return
    while True:
        try:
            await scrape_once(state)
        except StatusError as err:
            logger.warning("metrics of nodes: %s; trying again in %.0f s", err, interval)
        await asyncio.sleep(interval)


async def scrape_once(state: ServerState) -> None:
    """Measure all nodes; raises StatusError if the certificate for agents cannot be read."""
    await state.cache.fresh()
    nodes = [item.wire for item in state.cache.of(NODE).items()]
    for gone in state.measured.names() - {wire["metadata"]["name"] for wire in nodes}:
        state.measured.forget(gone)
    if not nodes:
        return
    connector = aiohttp.TCPConnector(ssl=agent_tls(state.config), force_close=True, limit=_AT_ONCE)
    limits = aiohttp.ClientTimeout(total=_SECONDS)
    async with aiohttp.ClientSession(connector=connector, timeout=limits) as session:
        await asyncio.gather(*(_measure(state, session, dict(wire)) for wire in nodes))


async def _measure(
    state: ServerState, session: aiohttp.ClientSession, wire: dict[str, object]
) -> None:
    try:
        node = Node.read(wire)
    except UnreadableError:
        return
    name = node.metadata.name
    try:
        state.measured.take(name, read(await _text(session, node)))
    except (ScrapeError, StatusError, aiohttp.ClientError, TimeoutError, ValueError) as err:
        state.measured.forget(name)
        logger.debug("metrics of node %s: %s", name, err or "no answer in time")


async def _text(session: aiohttp.ClientSession, node: Node) -> str:
    async with session.get(_TARGET.at(node)) as answer:
        if answer.status != 200:
            raise ScrapeError(f"the agent answered {answer.status}")
        body = bytearray()
        async for piece in answer.content.iter_any():
            body += piece
            if len(body) > _MOST_BYTES:
                raise ScrapeError(f"the agent's answer has more than {_MOST_BYTES} bytes")
        return body.decode()


def read(text: str) -> NodeSamples:
    """Return the samples in the text of /metrics/resource; raises ScrapeError, ValueError."""
    node: dict[str, MetricSample] = {}
    found: dict[Pod, dict[str, dict[str, MetricSample]]] = {}
    for sample in samples(text):
        scope, _, what = sample.name.partition("_")
        if scope == "node":
            node[what] = sample
        elif scope == "container":
            labels = sample.labels
            pod = labels.get("namespace", ""), labels.get("pod", "")
            parts = found.setdefault(pod, {})
            parts.setdefault(labels.get("container", ""), {})[what] = sample
    pods = {
        pod: {name: made for name, of in parts.items() if (made := _joined(of)) is not None}
        for pod, parts in found.items()
    }
    whole = _joined(node)
    if whole is None:
        raise ScrapeError("it does not say what the node uses")
    return NodeSamples(whole, pods)


def _joined(of: dict[str, MetricSample]) -> Sample | None:
    """Return one sample of CPU, memory and start; None if CPU or memory is missing."""
    cpu, memory, start = (of.get(name) for name in (_CPU, _MEMORY, "start_time_seconds"))
    if cpu is None or memory is None or cpu.at is None:
        return None
    if not (math.isfinite(cpu.value) and math.isfinite(memory.value)):
        return None
    return Sample(cpu.at, cpu.value, int(memory.value), start.value if start else 0.0)
