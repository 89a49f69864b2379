"""Sends a packet through the chains of a hook: which rules decide, with which probability.

Source: nft_do_chain() in net/netfilter/nf_tables_core.c, nf_hook_slow(), nf_nat_inet_fn().
"""

from collections.abc import Callable, Iterable
from fractions import Fraction
from functools import partial

from msgspec import Struct
from msgspec.structs import replace

from debug.ruleset import nat
from debug.ruleset.frames import BREAK, UNKNOWN, Found, Frame, World
from debug.ruleset.machine import run
from debug.ruleset.packet import Fib, State
from debug.ruleset.registers import UnknownError
from debug.ruleset.steps import Verdict
from debug.ruleset.values import Chain, Hook, Rule, Rules, Table

CONNTRACK = -200  # NF_IP_PRI_CONNTRACK
_NAT = {
    **{Hook.PREROUTING: -100, Hook.OUTPUT: -100},
    **{Hook.INPUT: 100, Hook.POSTROUTING: 100},
}
_FAMILIES = {4: ("ip", "inet"), 6: ("ip6", "inet")}
_DEEPEST = 64  # chains in one another; the kernel allows 16 jumps
_MOST_WAYS = 10_000
_WENT_ON = ("continue", "return")

Track = Callable[[State], State]
Taken = Callable[[State], bool]


class Passed(Struct, frozen=True):
    """A rule that did something; ``verdict`` "policy" stands for the end of a chain."""

    table: Table
    chain: str
    handle: int = 0
    comment: str = ""
    verdict: Verdict = Verdict("continue")
    found: tuple[Found, ...] = ()
    notes: tuple[str, ...] = ()


class Way(Struct, frozen=True):
    """One way through a hook: its verdict is accept, drop, queue, stolen or unknown."""

    state: State
    verdict: Verdict
    weight: Fraction = Fraction(1)
    conditions: tuple[str, ...] = ()
    trail: tuple[Passed, ...] = ()


def through_hook(
    rules: Rules,
    fib: Fib,
    hook: Hook,
    state: State,
    track: Track | None = None,
    taken: Taken | None = None,
) -> list[Way]:
    """Return each way of a packet through a hook.

    ``track`` gives the packet its connection, after the chains that come before conntrack; it
    raises UnknownError. ``taken`` tells whether another connection has the addresses of a packet's
    answers, so that the kernel takes another port.
    """
    ways = [Way(state, Verdict("accept"))]
    tracked = track is None
    for chains, priority in _stages(rules, hook, state.packet.version):
        if track is not None and not tracked and priority >= CONNTRACK:
            ways, tracked = _tracked(ways, track), True
        ways = _onward(ways, partial(_stage, rules, fib, hook, chains, taken))
    return ways if tracked or track is None else _tracked(ways, track)


def _tracked(ways: list[Way], track: Track) -> list[Way]:
    """Return ways whose packets have met conntrack, but for those that a rule keeps from it."""
    return [
        _changed(one, track) if one.state.flow is None and one.verdict.code == "accept" else one
        for one in ways
    ]


def _changed(way: Way, change: Callable[[State], State]) -> Way:
    """Return a way whose packet was changed; it ends where that is not known."""
    try:
        return replace(way, state=change(way.state))
    except UnknownError as err:
        return replace(way, verdict=Verdict(UNKNOWN, str(err)))


def _stages(rules: Rules, hook: Hook, version: int) -> list[tuple[list[Chain], int]]:
    """Return chains with their priority: those of NAT all at once, where conntrack calls them."""
    stages: list[tuple[list[Chain], int]] = []
    translating: list[Chain] = []
    for chain in rules.bases():
        base = chain.base
        if base is None or base.hook is not hook or chain.table.dormant:
            continue
        if chain.table.family in _FAMILIES[version]:
            if base.sort == "nat":
                translating.append(chain)
            else:
                stages.append(([chain], base.priority))
    if hook in _NAT:
        stages.append((translating, _NAT[hook]))
    return sorted(stages, key=lambda stage: stage[1])


def _stage(
    rules: Rules, fib: Fib, hook: Hook, chains: list[Chain], taken: Taken | None, state: State
) -> list[Way]:
    if len(chains) == 1 and chains[0].base and chains[0].base.sort != "nat":
        return base_chain(rules, fib, hook, chains[0], state)
    if not _translates(rules, state.packet.version):
        return [Way(state, Verdict("accept"))]
    ways = _translation(rules, fib, hook, chains, state)
    if taken is None or nat.at_hook(hook):
        return ways
    return [_changed(one, partial(nat.made_unique, taken=taken)) for one in ways]


def _translates(rules: Rules, version: int) -> bool:
    """Return True if the kernel translates at all here: one chain of NAT makes all hooks do it."""
    return any(
        chain.base is not None and chain.base.sort == "nat" and not chain.table.dormant
        for chain in rules.bases()
        if chain.table.family in _FAMILIES[version]
    )


def _translation(
    rules: Rules, fib: Fib, hook: Hook, chains: Iterable[Chain], state: State
) -> list[Way]:
    """Ask the chains of NAT for a connection's first packet; translate every packet."""
    destination = nat.at_hook(hook)
    flow = state.flow
    accept = Verdict("accept")
    if flow is None or flow.state in ("invalid", "untracked"):
        return [Way(state, accept)]
    ways = [Way(state, accept)]
    if flow.state in ("new", "related") and not nat.is_done(flow, destination):
        for chain in chains:
            ways = _onward(ways, _asking(rules, fib, hook, chain, flow.bound))
        ways = _finished(ways, destination)
    return [replace(one, state=nat.applied(one.state, destination)) for one in ways]


def _asking(
    rules: Rules, fib: Fib, hook: Hook, chain: Chain, bound: int
) -> Callable[[State], list[Way]]:
    """Return what asks one chain, unless one before it has bound the connection."""

    def ask(state: State) -> list[Way]:
        if state.flow is not None and state.flow.bound != bound:
            return [Way(state, Verdict("accept"))]
        return base_chain(rules, fib, hook, chain, state)

    return ask


def _finished(ways: list[Way], destination: bool) -> list[Way]:
    return [replace(one, state=nat.finished(one.state, destination)) for one in ways]


def _onward(ways: list[Way], go: Callable[[State], list[Way]]) -> list[Way]:
    """Send each way that is still open on."""
    made: list[Way] = []
    for way in ways:
        if way.verdict.code != "accept":
            made.append(way)
            continue
        made += [joined(way, one) for one in go(way.state)]
    return collected(made)


def joined(first: Way, then: Way) -> Way:
    """Return two ways, one after the other, as one."""
    return Way(
        then.state,
        then.verdict,
        first.weight * then.weight,
        (*first.conditions, *then.conditions),
        (*first.trail, *then.trail),
    )


def collected(ways: list[Way]) -> list[Way]:
    """Return ways, those that are alike as one."""
    if len(ways) < 2:
        return ways
    found: dict[tuple[object, ...], Way] = {}
    for way in ways:
        key = (way.state, way.verdict, way.trail)
        same = found.get(key)
        if same is None:
            found[key] = way
            continue
        conditions = min(same.conditions, way.conditions, key=len)
        found[key] = replace(same, weight=same.weight + way.weight, conditions=conditions)
    return list(found.values())


def base_chain(rules: Rules, fib: Fib, hook: Hook, chain: Chain, state: State) -> list[Way]:
    """Return each way through a chain that hangs in a hook, its policy at the end."""
    world = World(rules, fib, hook, chain.table)
    policy = Verdict("accept" if chain.base is None or chain.base.accepts else "drop")
    ways = []
    for way in _through(world, chain.name, Way(state, Verdict("continue")), 0):
        if way.verdict.code not in _WENT_ON:
            ways.append(way)
            continue
        trail = way.trail
        if policy.code == "drop":
            trail = (*trail, Passed(chain.table, chain.name, verdict=policy, notes=("its policy",)))
        ways.append(replace(way, verdict=policy, trail=trail))
    return collected(ways)


def _through(world: World, name: str, way: Way, depth: int) -> list[Way]:
    """Return each way through a chain: ended, or gone on where the chain was called."""
    if depth > _DEEPEST:
        return [replace(way, verdict=Verdict(UNKNOWN, f"chains deeper than {_DEEPEST}"))]
    live, ended = [way], []
    for rule in world.rules.rules(world.table, name):
        following = [one for way in live for one in _rule(world, name, rule, way, depth)]
        live = [one for one in following if one.verdict.code == "continue"]
        ended += [one for one in following if one.verdict.code != "continue"]
        live = collected(live)
        if not live:
            break
        if len(live) + len(ended) > _MOST_WAYS:
            return [replace(way, verdict=Verdict(UNKNOWN, f"more than {_MOST_WAYS} ways"))]
    return [*ended, *live]


def _rule(world: World, name: str, rule: Rule, way: Way, depth: int) -> list[Way]:
    made = []
    for frame in run(rule, Frame(way.state), world):
        end = frame.end or BREAK
        kept = _kept(world, name, rule, frame, end)
        one = Way(
            frame.state,
            Verdict("continue") if end.code == "break" else end,
            way.weight * frame.weight,
            (*way.conditions, *frame.conditions),
            (*way.trail, *kept),
        )
        made += _called(world, one, depth, len(way.trail)) if end.chain else [one]
    return made


def _called(world: World, way: Way, depth: int, before: int) -> list[Way]:
    """Follow a jump or a goto. A jump that comes back without doing a thing leaves no trail."""
    end = way.verdict
    if end.code not in ("jump", "goto"):
        return [way]
    went = replace(way, verdict=Verdict("continue"))
    back = Verdict("continue" if end.code == "jump" else "return")
    ways = []
    for one in _through(world, end.chain, went, depth + 1):
        if one.verdict.code not in _WENT_ON:
            ways.append(one)
            continue
        idle = len(one.trail) == len(way.trail) and not way.trail[-1].notes
        ways.append(replace(one, verdict=back, trail=one.trail[:before] if idle else one.trail))
    return ways


def _kept(world: World, name: str, rule: Rule, frame: Frame, end: Verdict) -> tuple[Passed, ...]:
    """Return what a rule leaves in the trail: nothing if it did nothing."""
    if end.code == "break" or (end.code in _WENT_ON and not frame.notes):
        return ()
    return (Passed(world.table, name, rule.handle, rule.comment, end, frame.found, frame.notes),)
