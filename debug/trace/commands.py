"""Carries out ``podwire trace``, which cli.py declares."""

import os
import struct
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import msgspec

from debug.cluster import ClusterState, Names
from debug.explain.result import Branch
from debug.options import ground, needed_objects
from debug.output import say, say_json
from debug.places import Ground, Place, entered
from debug.trace.compare import compare
from debug.trace.ends import (
    End,
    Target,
    called_from_outside,
    find_source,
    parse_end,
    target_of,
    watched,
)
from debug.trace.facts import Fact
from debug.trace.model import PacketTrace, Trace
from debug.trace.packet import TCP, UDP, Flow
from debug.trace.pcapng import Frame, encode
from debug.trace.probe import DNS_PORT, Direction, Identity, Probe, Recognizer, dns_mark, new_mark
from debug.trace.programs import MapPrograms
from debug.trace.result import Rules, Teller, chains_of
from debug.trace.run import Observed, observe
from debug.trace.send import free_port, source_address
from debug.trace.text import in_words, lines, outcome
from debug.trace.tracking import tracked
from debug.trace.walk import Passage, Stay, connections_of, walk
from debug.trace.wanted import Wanted
from debug.trace.watch.drops import function_at
from debug.trace.watch.nftrace import NftTrace
from debug.trace.watch.routes import leads
from debug.trace.watch.rulebook import ChainKey, read_chains, read_element
from debug.trace.watch.spaces import Seen
from lab.shared import plain_errors

_MOST_PODS = 64  # namespaces of Pods that are listened to
_MOST_WAYS = 256  # of one choice of a prediction
_DISCARD = 9  # the port of a UDP or TCP probe without one


@dataclass(frozen=True, slots=True)
class Asked:
    """What is traced, once its names are found."""

    source: Place
    target: Target
    protocol: str
    places: tuple[Place, ...]
    names: Names
    cluster: ClusterState | None = None  # None if the API was not read


def trace(source: str, destination: str, **options: Any) -> None:
    """Send the probes, and print what was seen."""
    threading.Thread(target=_warm, daemon=True).start()
    with plain_errors():
        began = time.monotonic()
        found = ground(options["name"], options["here"], options["kubeconfig"])
        asked = ask(source, destination, options["namespace"], found)
        predicted = predict(found, source, destination, options) if options["compare"] else None
        observed = observe_all(asked, options)
        frames: list[Frame] = []
        result = told(asked, observed, time.monotonic() - began, frames)
        if predicted:
            wanted = wanted_of(asked, observed[0].probe.flow, result.packets)
            compared = compare(predicted, result.packets, wanted)
            result = msgspec.structs.replace(result, comparisons=compared)
        if options["pcap"]:
            Path(options["pcap"]).write_bytes(encode(frames))
        if options["output"] == "json":
            say_json(result)
        else:
            say("\n".join(lines(result, every=options["every"])))
    sys.exit(0 if succeeded(result, options["count"]) else 1)


def wanted_of(asked: Asked, flow: Flow, packets: Sequence[PacketTrace]) -> tuple[Fact, ...]:
    """Return what the API's objects want of the first probe; nothing if they were not read."""
    seen = next((one for one in packets if one.direction == "forward"), None)
    if asked.cluster is None or seen is None:
        return ()
    return Wanted(asked.cluster, asked.source, flow, seen).facts()


def predict(found: Ground, source: str, destination: str, options: dict[str, Any]) -> Branch:
    """Return what is predicted for the first probe, which then has the same source port."""
    from debug.explain.commands import explained

    if options["source_port"] is None:
        options["source_port"] = free_port()
    asked = {name: options[name] for name in ("namespace", "source_port")}
    limits = {
        "mark": 0,
        "most": _MOST_WAYS,
        "no_reply": False,
        "new": False,
        "packet": True,
        "source_address": None,
    }
    return explained(found, source, destination, asked | limits).way


def _warm() -> None:
    """Import scapy while other work waits: it takes as long as all of that."""
    import scapy.layers.inet  # noqa: F401


def ask(source: str, destination: str, namespace: str, found: Ground) -> Asked:
    """Find what is named. Raises PlaceError, ClientError, click.UsageError."""
    ends = parse_end(source, namespace), parse_end(destination, namespace)
    cluster = needed_objects(found)
    start, target = find_source(ends[0], found, cluster), target_of(ends[1], found, cluster)
    if ends[0].is_outside:
        target = called_from_outside(ends[1], target, cluster)
    places = watched(found, start, target, _MOST_PODS)
    protocol = _protocol(ends[1], target)
    names = Names(cluster or ClusterState(), found.names())
    return Asked(start, target, protocol, places, names, cluster)


def _protocol(end: End, target: Target) -> str:
    if end.protocol:
        return end.protocol
    return "icmp" if target.port is None else "tcp"


def observe_all(asked: Asked, options: Mapping[str, Any]) -> list[Observed]:
    """Send the probes one after the other. Raises OSError, PlaceError."""
    how = asked.source, asked.places, options["wait"], os.getpid()
    return [observe(_probe(asked, options), *how) for _ in range(options["count"])]


def _probe(asked: Asked, options: Mapping[str, Any]) -> Probe:
    destination = asked.target.addresses[0]
    ports: tuple[int | None, int | None] = (None, None)
    with entered(asked.source):
        address = source_address(destination)
        if asked.protocol != "icmp":
            ports = options["source_port"] or free_port(), asked.target.port or _DISCARD
    name = "icmpv6" if asked.protocol == "icmp" and ":" in destination else asked.protocol
    is_dns = asked.protocol == "udp" and ports[1] == DNS_PORT
    return Probe(
        Flow(name, address, destination, *ports),
        dns_mark() if is_dns else new_mark(),
        size=options["size"],
        fragment=options["fragment"],
        hops=options["ttl"],
        handshake=options["handshake"] and asked.protocol == "tcp",
        answer_ports=asked.target.answer_ports,
    )


def told(
    asked: Asked, observed: Sequence[Observed], seconds: float, frames: list[Frame] | None = None
) -> Trace:
    """Return the trace of what was observed, with the texts of rules and the names of addresses.

    Packets for a file are added to ``frames``.
    """
    packets: list[PacketTrace] = []
    frames = [] if frames is None else frames
    for number, one in enumerate(observed, 1):
        met = walk(one.seen, Recognizer(one.probe), one.links)
        seen = [*one.seen, *tracked(met.values())]
        teller = _teller(asked, observed, seen)
        ways = walk(seen, Recognizer(one.probe), one.links)
        if one.probe.handshake:
            ways.pop(Identity(Direction.FORWARD, "TCP RST"), None)  # the table drops it
        for identity, stays in ways.items():
            packets.append(teller.packet(number, identity, stays))
            frames += _frames(packets[-1], stays)
    flow = observed[0].probe.flow
    port = "" if flow.destination_port is None else f":{flow.destination_port}"
    began = datetime.fromtimestamp(observed[0].started / 1e9, UTC)
    return Trace(
        source=asked.source.name,
        destination=f"{asked.target.shown}{port}/{asked.protocol}",
        started=began.isoformat(timespec="milliseconds"),
        packets=tuple(packets),
        unseen=tuple(dict.fromkeys(line for one in observed for line in one.unseen)),
        seconds=round(seconds, 3),
    )


def _teller(asked: Asked, observed: Sequence[Observed], seen: Sequence[Seen]) -> Teller:
    """Return what tells the packets of one probe, in times since the first one."""
    return Teller(
        read_rules(one for each in observed for one in each.seen),
        asked.names.of,
        observed[0].started,
        connections_of(seen),
        asked.source,
        element=lru_cache(read_service),
        function=function_at,
        leads=lru_cache(leads),
        programs=MapPrograms(asked.names),
    )


def _frames(packet: PacketTrace, stays: Sequence[Stay]) -> Iterator[Frame]:
    """Yield the packets on links, each with what happened since the link before."""
    said = [f"{packet.name} ({packet.direction}): {outcome(packet)}"]
    for hop, stay in zip(packet.hops, stays, strict=True):
        passages = (one for one in stay.met if isinstance(one, Passage) and not one.dropped)
        for step in hop.steps:
            if step.kind not in ("in", "out"):
                said.append(f"{hop.place}: {in_words(step)}")
                continue
            passage = next(passages)
            name = f"{hop.place} {step.link}"
            yield Frame(passage.time, name, passage.data, "\n".join([*said, f"{step.kind} {name}"]))
            said = []


def read_service(place: Place, key: ChainKey, flow: Flow) -> str:
    """Return the comment of a map's element for a flow, by the keys of kube-proxy and podwire."""
    if flow.destination_port is None:
        return ""
    number = {"tcp": TCP, "udp": UDP}.get(flow.protocol, 0)
    port = struct.pack("!BxxxHxx", number, flow.destination_port)
    address = ip_address(flow.destination).packed
    return read_element(place, key, address + port) or read_element(place, key, port)


def read_rules(seen: Iterable[Seen]) -> Rules:
    """Read the chains that were passed; those that are gone meanwhile are missing."""
    events = ((one.place, one.event) for one in seen if isinstance(one.event, NftTrace))
    return {place: read_chains(place, keys) for place, keys in chains_of(events).items()}


def succeeded(result: Trace, count: int = 1) -> bool:
    """True if each of ``count`` probes arrived, and something answered it."""
    probes = set(range(1, count + 1))  # of one that was seen nowhere there is no packet
    arrived = {
        direction: {
            one.probe
            for one in result.packets
            if one.direction == direction and one.outcome == "arrived"
        }
        for direction in ("forward", "reply")
    }
    return probes <= arrived["forward"] & arrived["reply"]
