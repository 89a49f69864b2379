"""Carries out a rule: a function for each kind of step, in a table.

Source: net/netfilter/nft_*.c. Where the kernel draws a number, a rule goes on once for each number.
"""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from msgspec.structs import replace

from debug.ruleset import loads, steps, xt
from debug.ruleset.frames import BREAK, DROP, MOST_WAYS, UNKNOWN, Found, Frame, Next, World
from debug.ruleset.jhash import jhash, scaled
from debug.ruleset.nat import masquerade, redirect, translate
from debug.ruleset.packet import TCP, Flow
from debug.ruleset.registers import UnknownError, from_host, host
from debug.ruleset.steps import Verdict
from debug.ruleset.values import Rule

_SADDR, _DADDR, _IIF, _OIF, _PRESENT = 0x1, 0x2, 0x8, 0x10, 0x20
_OIF_INDEX, _OIF_NAME, _KIND = 1, 2, 3


def run(rule: Rule, state: Frame, world: World) -> list[Frame]:
    """Return each way through a rule, ended by a verdict: BREAK if the rule does not match.

    Ways that end alike are one: their probabilities are added.
    """
    open_ways, ended = [state], []
    while open_ways:
        frame = open_ways.pop()
        following = _run(rule, frame, world)
        open_ways += [one for one in following if one.end is None]
        ended += [one for one in following if one.end is not None]
    return merged(ended) if len(ended) > 1 else ended


def _run(rule: Rule, frame: Frame, world: World) -> tuple[Frame, ...]:
    """Carry out steps until one parts the way, or ends it."""
    while frame.at < len(rule.steps):
        step = rule.steps[frame.at]
        frame.at += 1
        try:
            following = _STEPS[type(step)](step, frame, world)
        except UnknownError as err:
            following = Verdict(UNKNOWN, str(err))
        if isinstance(following, tuple):
            return following
        if following is not None:
            frame.end = following
            return (frame,)
    frame.end = Verdict("continue")
    return (frame,)


def merged(frames: list[Frame]) -> list[Frame]:
    """Return frames, those that end alike as one."""
    found: dict[Any, Frame] = {}
    for frame in frames:
        kept = () if frame.end == BREAK else (frame.found, frame.notes)
        key = (frame.end, frame.state, kept)
        if (same := found.get(key)) is None:
            found[key] = frame
            continue
        same.weight += frame.weight
        if len(frame.conditions) < len(same.conditions):
            same.conditions = frame.conditions
    return list(found.values())


def _immediate(step: steps.Immediate, frame: Frame, _: World) -> Next:
    if isinstance(step.value, Verdict):
        return step.value
    frame.registers.load(step.loaded, step.value)
    return None


def _load(frame: Frame, word: int, value: bytes | None) -> Next:
    if value is None:
        return BREAK
    frame.registers.load(word, value)
    return None


def _payload(step: steps.Payload, frame: Frame, _: World) -> Next:
    found = loads.payload(frame.state, step.base, step.offset, step.length)
    return _load(frame, step.loaded, found)


def _payload_set(step: steps.PayloadSet, frame: Frame, _: World) -> Next:
    value = frame.registers.read(step.source, step.length)
    frame.state = loads.with_payload(frame.state, step.base, step.offset, value)
    frame.note(f"bytes {step.offset} to {step.offset + step.length - 1} of a header are written")
    return None


def _meta(step: steps.Meta, frame: Frame, _: World) -> Next:
    return _or_unknown(frame, step.loaded, lambda: loads.meta(frame.state, step.key))


def _ct(step: steps.Ct, frame: Frame, _: World) -> Next:
    load = lambda: loads.ct(frame.state, step.key, step.direction)  # noqa: E731
    return _or_unknown(frame, step.loaded, load)


def _or_unknown(frame: Frame, word: int, load: Callable[[], bytes | None]) -> Next:
    """Load a value; one that is not known matters once it is read."""
    try:
        return _load(frame, word, load())
    except UnknownError as err:
        frame.registers.load_unknown(word, 16, str(err))
        return None


def _meta_set(step: steps.MetaSet, frame: Frame, _: World) -> Next:
    value = frame.registers.read(step.source, 4)
    frame.state = loads.with_meta(frame.state, step.key, value)
    if step.key == loads.META_MARK:
        frame.note(f"mark {frame.state.mark:#x}")
    return None


def _ct_set(step: steps.CtSet, frame: Frame, _: World) -> Next:
    value = frame.registers.read(step.source, 4)
    frame.state = loads.with_ct(frame.state, step.key, value)
    return None


def _untrack(_: steps.Untrack, frame: Frame, __: World) -> Next:
    if frame.state.flow is None:
        frame.state = replace(frame.state, flow=Flow("untracked"))
        frame.note("not tracked")
    return None


def _fib(step: steps.Fib, frame: Frame, world: World) -> Next:
    if step.result == _KIND:
        packet, state = frame.state.packet, frame.state
        address = packet.source if step.flags & _SADDR else packet.destination
        device = state.iif if step.flags & _IIF else state.oif if step.flags & _OIF else None
        kind = world.fib.kind(address, device.index if device else None)
        frame.registers.load(step.loaded, host(kind))
        return None
    found = world.fib.device(frame.state, step.flags)
    if step.flags & _PRESENT:
        value = bytes([found is not None])
    elif step.result == _OIF_NAME:
        value = (found.name if found else "").encode().ljust(16, b"\0")
    else:
        value = host(found.index if found else 0)
    frame.registers.load(step.loaded, value)
    return None


_OPERATORS: tuple[Callable[[bytes, bytes], bool], ...] = (
    lambda a, b: a == b,
    lambda a, b: a != b,
    lambda a, b: a < b,
    lambda a, b: a <= b,
    lambda a, b: a > b,
    lambda a, b: a >= b,
)


def _compare(step: steps.Compare, frame: Frame, _: World) -> Next:
    value = frame.registers.read(step.source, len(step.value))
    return None if _OPERATORS[step.operator](value, step.value) else BREAK


def _range(step: steps.Range, frame: Frame, _: World) -> Next:
    value = frame.registers.read(step.source, len(step.first))
    inside = step.first <= value <= step.last
    return None if inside != bool(step.operator) else BREAK


def _bitwise(step: steps.Bitwise, frame: Frame, _: World) -> Next:
    value = frame.registers.read(step.source, step.length)
    if step.operator == 0:
        parts = zip(value, step.mask, step.xor, strict=False)
        frame.registers.load(step.loaded, bytes([(a & mask) ^ xor for a, mask, xor in parts]))
        return None
    frame.registers.load(step.loaded, _shifted(value, step.shift, left=step.operator == 1))
    return None


def _shifted(value: bytes, bits: int, left: bool) -> bytes:
    """Shift words as the kernel does: the first word is the highest."""
    words = [from_host(value[at : at + 4].ljust(4, b"\0")) for at in range(0, len(value), 4)]
    number = 0
    for word in words:
        number = number << 32 | word
    number = (number << bits if left else number >> bits) & ((1 << 32 * len(words)) - 1)
    parts = [number >> 32 * at & 0xFFFFFFFF for at in range(len(words) - 1, -1, -1)]
    return b"".join(map(host, parts))


def _byte_order(step: steps.ByteOrder, frame: Frame, _: World) -> Next:
    try:
        value = frame.registers.read(step.source, step.length)
    except UnknownError as err:
        frame.registers.load_unknown(step.loaded, step.length, str(err))
        return None
    if host(1) != b"\0\0\0\1":  # a big-endian machine swaps nothing
        size = step.size
        value = b"".join(value[at : at + size][::-1] for at in range(0, len(value), size))
    frame.registers.load(step.loaded, value)
    return None


def _lookup(step: steps.Lookup, frame: Frame, world: World) -> Next:
    store = world.rules.store(world.table, step.store)
    key = frame.registers.read(step.source, store.length)
    element = world.rules.element(store, key)
    if (element is None) != step.inverted:
        return BREAK
    frame.found = (*frame.found, Found(store, key, element))
    if element is None or not store.is_map:
        return None
    if isinstance(element.value, Verdict):
        return element.value
    if step.loaded is not None and element.value is not None:
        frame.registers.load(step.loaded, element.value)
    return None


def _update(step: steps.Update, frame: Frame, world: World) -> Next:
    store = world.rules.store(world.table, step.store)
    frame.registers.read(step.source, store.length)
    if step.inner and set(step.inner) != {"counter"}:
        return _either(frame, f"{', '.join(step.inner)} of set {step.store}", step.inverted)
    frame.note(f"remembered in set {step.store}")
    return BREAK if step.inverted else None


def _draw(step: steps.Draw, frame: Frame, _: World) -> Next:
    return _ways(frame, step.loaded, step.modulus, step.offset)


def _ways(frame: Frame, word: int, modulus: int, offset: int) -> Next:
    """Return a frame for each number below ``modulus``, all as likely."""
    if modulus > MOST_WAYS:
        raise UnknownError(f"one of {modulus} numbers, drawn at random")
    share = Fraction(1, modulus)
    made = []
    for number in range(modulus):
        one = frame.parted(weight=frame.weight * share)
        one.registers.load(word, host(number + offset))
        made.append(one)
    return tuple(made)


def _hash(step: steps.Hash, frame: Frame, _: World) -> Next:
    if step.symmetric or step.seed is None:
        frame.note("chosen by a hash of the packet, the same for each packet of a client")
        return _ways(frame, step.loaded, step.modulus, step.offset)
    value = frame.registers.read(step.source, step.length)
    number = scaled(jhash(value, step.seed), step.modulus) + step.offset
    frame.registers.load(step.loaded, host(number))
    return None


def _limit(step: steps.Limit, frame: Frame, _: World) -> Next:
    return _either(frame, f"{step.rate} each {step.unit} s", step.inverted)


def _either(frame: Frame, rate: str, inverted: bool) -> Next:
    """Part in two: usual below the rate, and what becomes of a packet above it."""
    below = frame.parted(end=BREAK if inverted else None)
    above = frame.parted(
        weight=Fraction(0),
        conditions=(*frame.conditions, f"above the limit: {rate}"),
        end=None if inverted else BREAK,
    )
    return below, above


_REJECTS = {0: "an ICMP message", 1: "a TCP reset", 2: "an ICMP message"}


def _reject(step: steps.Reject, frame: Frame, _: World) -> Next:
    frame.note(f"rejected: the sender gets {_REJECTS.get(step.sort, 'an answer')}")
    return DROP


def _quiet(_: steps.Quiet, __: Frame, ___: World) -> Next:
    return None


def _option(_: steps.TcpOption, frame: Frame, __: World) -> Next:
    return None if frame.state.packet.protocol == TCP else BREAK


def _unloadable(step: steps.Unloadable, frame: Frame, _: World) -> Next:
    frame.registers.load_unknown(step.loaded, step.length, step.name)
    return None


def _strange(step: steps.Strange, _: Frame, __: World) -> Next:
    raise UnknownError(f"expression {step.name}")


_STEPS: dict[type, Callable[[Any, Frame, World], Next]] = {
    steps.Immediate: _immediate,
    steps.Payload: _payload,
    steps.PayloadSet: _payload_set,
    steps.Meta: _meta,
    steps.MetaSet: _meta_set,
    steps.Ct: _ct,
    steps.CtSet: _ct_set,
    steps.Fib: _fib,
    steps.Compare: _compare,
    steps.Range: _range,
    steps.Bitwise: _bitwise,
    steps.ByteOrder: _byte_order,
    steps.Lookup: _lookup,
    steps.Update: _update,
    steps.Draw: _draw,
    steps.Hash: _hash,
    steps.Nat: translate,
    steps.Masquerade: masquerade,
    steps.Redirect: redirect,
    steps.Limit: _limit,
    steps.Reject: _reject,
    steps.Quiet: _quiet,
    steps.TcpOption: _option,
    steps.Untrack: _untrack,
    steps.XtMatch: xt.match,
    steps.XtTarget: xt.target,
    steps.Unloadable: _unloadable,
    steps.Strange: _strange,
}
