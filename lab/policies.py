"""Carries out ``podwire policy``, which lab/policy_cli.py declares.

What was dropped is asked of each node's proxy, at its metrics address, inside the node's network.
"""

import json
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import click

from lab.machine import enter_network
from lab.policy_view import AskError, ClusterView, FlowVerdict, explain_flow, look, sentences
from lab.report import columns
from lab.shared import need_root, plain_errors, running
from lab.status import MachineNotFoundError, locate
from proxy.model.values import Key
from proxy.policy.drops.explain import TierVerdict
from proxy.policy.values import ClusterPolicy, Direction, Policy

Document = dict[str, Any]
Ask = Callable[[str], Document]

LOCAL = "http://127.0.0.1:10249"
_MACHINE = Path("/etc/podwire/components.json")  # on a lab's machine
_WAIT = 20  # seconds for which a proxy waits for something new
_PATIENCE = 30.0
_PAUSE = 0.2  # between two questions: drops meanwhile come together
_HEADER = ("NODE", "POD", "DIRECTION", "PEER", "PORT", "PACKETS", "REASON")


def drops(
    name: str, nodes: tuple[str, ...], url: str | None, namespace: str | None, **how: Any
) -> None:
    """List, or follow, what was dropped."""
    places = _places(name, nodes, url)
    if how["follow"]:
        return _follow(places, namespace, how["output"])
    found = [_mine(one, namespace) for one in _ask_all(places, "/policy/drops")]
    if how["output"] == "json":
        return click.echo(json.dumps(found, indent=2))
    rows = [row for one in found for row in _rows(one, lambda row: row["packets"])]
    if not rows:
        return click.echo("no packet was dropped by a policy")
    click.echo(columns(_HEADER, rows))
    for line in _unlogged(found):
        click.echo(line)
    return None


def list_policies(name: str, kubeconfig: Path | None, namespace: str | None, output: str) -> None:
    """List the policies of a lab, or of another cluster."""
    view = _view(name, kubeconfig)
    shown: list[Policy | ClusterPolicy]
    shown = [one for one in view.policies if namespace in (None, one.key[0])]
    shown += view.cluster if namespace is None else []
    dropped = Counter[Key]()
    if kubeconfig is None:
        for answer in _ask_all(_places(name, (), None), "/policy/drops"):
            for one in answer["dropped"]:
                for policy in one["policy"].split(","):
                    dropped[one["namespace"], policy] += one["packets"]
    found = [_listed(view, one, None if kubeconfig else dropped[one.key]) for one in shown]
    if output == "json":
        return click.echo(json.dumps(found, indent=2))
    for header, lines in (
        (_LISTED, [_line(one) for one in found if "tier" not in one]),
        (_RANKED, [_ranked_line(one) for one in found if "tier" in one]),
    ):
        if lines:
            click.echo(columns(header, lines))
    return None if found else click.echo("no policy")


_RANKED = ("TIER", "PRIORITY", "NAME", "PODS", "INGRESS", "EGRESS", "DROPPED")
_LISTED = ("NAMESPACE", "NAME", "PODS", "INGRESS", "EGRESS", "DROPPED")


def _listed(view: ClusterView, policy: Policy | ClusterPolicy, dropped: int | None) -> Document:
    place = {}
    if isinstance(policy, ClusterPolicy):
        place = {"tier": policy.tier, "priority": policy.priority}
    rules = {one.lower(): policy.rules.get(one) for one in Direction}
    return {
        "namespace": policy.key[0],
        "name": policy.key[1],
        **place,
        "pods": ["/".join(key) for key in view.selected(policy)],
        **{side: None if found is None else len(found) for side, found in rules.items()},
        "dropped": dropped,
    }


def _line(one: Document) -> Sequence[str]:
    return one["namespace"], one["name"], str(len(one["pods"])), *_counted(one)


def _ranked_line(one: Document) -> Sequence[str]:
    place = (one["tier"], str(one["priority"]), one["name"], str(len(one["pods"])))
    return *place, *_counted(one)


def _counted(one: Document) -> Sequence[str]:
    dropped = "-" if one["dropped"] is None else str(one["dropped"])
    return _rules(one["ingress"]), _rules(one["egress"]), dropped


def _rules(count: int | None) -> str:
    return "-" if count is None else f"{count} rule{'' if count == 1 else 's'}"


def explain(
    name: str, kubeconfig: Path | None, namespace: str, output: str, source: str, target: str
) -> None:
    """Say what becomes of a flow, and why."""
    view = _view(name, kubeconfig)
    try:
        flows = explain_flow(view, source, target, namespace)
    except AskError as err:
        raise click.ClickException(str(err)) from err
    if output == "json":
        return click.echo(json.dumps([_document(one) for one in flows], indent=2))
    return click.echo("\n".join(line for one in flows for line in sentences(one)))


def _document(flow: FlowVerdict) -> Document:
    sides = [
        {
            "direction": side.direction,
            "pod": "/".join(side.pod),
            "passes": side.passes,
            "admin": side.admin and _tier(side.admin),
            "baseline": side.baseline and _tier(side.baseline),
            "policies": [
                {"policy": "/".join(one.policy), "rules": list(map(asdict, one.rules))}
                for one in side.policies
            ],
        }
        for side in flow.sides
    ]
    ends = {"source": str(flow.source), "destination": str(flow.destination)}
    return {**ends, "passes": flow.passes, "sides": sides}


def _tier(tier: TierVerdict) -> Document:
    fits = tier.fits
    return {
        "policies": [*tier.policies],
        "action": tier.action,
        "policy": fits.policy if fits else None,
        "rule": fits.number if fits else None,
    }


def _view(name: str, kubeconfig: Path | None) -> ClusterView:
    """Read the cluster, and say what of its policies cannot be used."""
    with plain_errors():
        view = look(kubeconfig or running(name)[0].kubeconfig)
    for line in view.complaints:
        click.echo(line, err=True)
    return view


def _places(name: str, nodes: tuple[str, ...], url: str | None) -> dict[str, Ask]:
    """Return how to ask each node's proxy."""
    if url or (_MACHINE.exists() and not nodes):
        base = (url or LOCAL).rstrip("/")
        return {base: lambda path: _fetch(base + path)}
    need_root()
    lab, spec = running(name)
    known = {node.name for node in spec.nodes}
    places: dict[str, Ask] = {}
    with plain_errors():
        for node in nodes or sorted(known):
            try:
                pid = locate(lab, node).pid
            except MachineNotFoundError as err:
                if nodes:
                    raise
                click.echo(str(err), err=True)
                continue
            places[node] = lambda path, pid=pid: _inside(pid, path)  # type: ignore[misc]
    return places


def _inside(pid: int, path: str) -> Document:
    """Ask the proxy of a machine. The calling thread stays in that machine's network."""
    enter_network(pid)
    return _fetch(LOCAL + path)


def _fetch(url: str) -> Document:
    with urlopen(url, timeout=_PATIENCE) as answer:  # noqa: S310  # http, from our own command line
        found: Document = json.load(answer)
    return found


def _ask_all(places: dict[str, Ask], path: str) -> list[Document]:
    """Ask all at once; raises ClickException."""

    def ask(place: str) -> Document:
        return _asked(place, places[place], path)

    with ThreadPoolExecutor(max(len(places), 1)) as pool:
        return list(pool.map(ask, places))


def _asked(place: str, ask: Ask, path: str) -> Document:
    try:
        return ask(path)
    except (OSError, URLError, HTTPException, ValueError) as err:
        why = getattr(err, "reason", None) or err
        raise click.ClickException(
            f"the proxy of {place} does not tell of drops: {why}; is it running, "
            "with --network-policy?"
        ) from err


def _follow(places: dict[str, Ask], namespace: str | None, output: str) -> None:
    """Print drops as they come, until the user ends it."""
    answers: queue.Queue[Document | click.ClickException] = queue.Queue(len(places))
    for place, ask in places.items():
        threading.Thread(target=_poll, args=(place, ask, answers), daemon=True).start()
    seen: dict[tuple[Any, ...], int] = {}
    widths = [len(cell) + 4 for cell in _HEADER]
    if output != "json":
        click.echo("  ".join(cell.ljust(w) for cell, w in zip(_HEADER, widths, strict=True)))
    while True:
        answer = answers.get()
        if isinstance(answer, click.ClickException):
            raise answer
        for row, cells in _news(_mine(answer, namespace), seen):
            if output == "json":
                click.echo(json.dumps({"node": answer["node"], **row}))
                continue
            widths = [max(w, len(cell)) for w, cell in zip(widths, cells, strict=True)]
            line = "  ".join(cell.ljust(w) for cell, w in zip(cells, widths, strict=True))
            click.echo(line.rstrip())


def _poll(place: str, ask: Ask, answers: "queue.Queue[Document | click.ClickException]") -> None:
    after = 0
    while True:
        query = urlencode({"after": after, "wait": _WAIT})
        try:
            answer = _asked(place, ask, f"/policy/drops?{query}")
        except click.ClickException as err:
            answers.put(err)
            return
        after = answer["changes"]
        answers.put(answer)
        time.sleep(_PAUSE)


def _news(
    answer: Document, seen: dict[tuple[Any, ...], int]
) -> Iterator[tuple[Document, Sequence[str]]]:
    """Yield the rows that grew, the oldest first, with what was added."""
    for row in reversed(answer["drops"]):
        key = (answer["node"], *(str(row[part]) for part in _IDENTITY))
        more = row["packets"] - seen.get(key, 0)
        seen[key] = row["packets"]
        news = {**row, "packets": more if more > 0 else row["packets"]}
        yield news, _cells(answer["node"], news, news["packets"])


_IDENTITY = ("address", "direction", "policies", "peerAddress", "peer", "protocol", "port")


def _mine(answer: Document, namespace: str | None) -> Document:
    if namespace is None:
        return answer
    mine = [row for row in answer["drops"] if row["pod"].startswith(f"{namespace}/")]
    sums = [one for one in answer["dropped"] if one["namespace"] == namespace]
    return {**answer, "drops": mine, "dropped": sums}


def _rows(answer: Document, count: Callable[[Document], int]) -> Iterator[Sequence[str]]:
    for row in answer["drops"]:
        yield _cells(answer["node"], row, count(row))


def _cells(node: str, row: Document, packets: int) -> Sequence[str]:
    port = row["protocol"] if row["port"] is None else f"{row['port']}/{row['protocol']}"
    pod = row["pod"] or row["address"]
    return node, pod, row["direction"], row["peer"], port, str(packets), row["reason"]


def _unlogged(found: Sequence[Document]) -> Iterator[str]:
    """Yield a line for each node whose kernel dropped more than it logged."""
    for answer in found:
        exact = sum(one["packets"] for one in answer["dropped"])
        more = exact - sum(row["packets"] for row in answer["drops"])
        if more > 0:
            yield f"{answer['node']}: {more} more packets are not listed: they came too fast"
