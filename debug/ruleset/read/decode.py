"""Decodes the expressions of rules (linux/netfilter/nf_tables.h): pure.

A kind of expression that is not in the table, or an attribute that it should have and has not,
becomes ``Strange``: what is not understood is never passed over.
"""

from collections.abc import Callable, Mapping

from debug.ruleset import steps
from debug.ruleset.steps import AnyStep, Verdict
from proxy.linux.netlink import attributes, list_values, text

Parts = Mapping[int, bytes]

_VERDICTS = {
    **{0: "drop", 1: "accept", 2: "stolen", 3: "queue"},
    **{-1: "continue", -2: "break", -3: "jump", -4: "goto", -5: "return"},
}
_QUIET = ("counter", "log", "last", "flow_offload", "dup", "synproxy_ack")
_NAME, _DATA = 1, 2
_FIRST, _WIDE = 8, 4  # NFT_REG32_00; words of NFT_REG_1 to NFT_REG_4


def steps_of(expressions: bytes) -> tuple[AnyStep, ...]:
    """Decode NFTA_RULE_EXPRESSIONS."""
    return tuple(step(one) for one in list_values(expressions))


def step(expression: bytes) -> AnyStep:
    """Decode one expression."""
    parts = attributes(expression)
    name = text(parts[_NAME])
    decode = _KINDS.get(name)
    if name in _QUIET:
        return steps.Quiet(name)
    if decode is None:
        return steps.Strange(name)
    try:
        return decode(attributes(parts.get(_DATA, b"")))
    except (KeyError, ValueError) as err:
        return steps.Strange(f"{name} (attribute {err})")


def comment_of(rule: tuple[AnyStep, ...]) -> str:
    """Return the comment that iptables keeps as a match."""
    found = (one for one in rule if isinstance(one, steps.XtMatch) and one.name == "comment")
    return next((text(one.data.split(b"\0")[0]) for one in found), "")


def number(value: bytes) -> int:
    """Return a number in the network's order."""
    return int.from_bytes(value, "big")


def register(value: bytes) -> int:
    """Return the word of a register."""
    given = number(value)
    return given - _FIRST if given >= _FIRST else (given - 1) * _WIDE


def _maybe(parts: Parts, kind: int) -> int | None:
    return register(parts[kind]) if kind in parts else None


def _number(parts: Parts, kind: int, default: int = 0) -> int:
    return number(parts[kind]) if kind in parts else default


def data(value: bytes) -> bytes | Verdict:
    """Decode ``struct nft_data``: a value or a verdict."""
    parts = attributes(value)
    if 1 in parts:
        return parts[1]
    verdict = attributes(parts[2])
    code = int.from_bytes(verdict[1], "big", signed=True)
    return Verdict(_VERDICTS.get(code, f"verdict {code}"), text(verdict.get(2, b"")))


def _value(value: bytes) -> bytes:
    found = data(value)
    if isinstance(found, Verdict):
        raise ValueError("a verdict where a value belongs")
    return found


def _immediate(parts: Parts) -> AnyStep:
    given = number(parts[1])
    return steps.Immediate(data(parts[2]), register(parts[1]) if given else 0)


def _payload(parts: Parts) -> AnyStep:
    where = number(parts[2]), number(parts[3]), number(parts[4])
    if 5 in parts:
        return steps.PayloadSet(*where, register(parts[5]))
    return steps.Payload(*where, register(parts[1]))


def _meta(parts: Parts) -> AnyStep:
    if 3 in parts:
        return steps.MetaSet(number(parts[2]), register(parts[3]))
    return steps.Meta(number(parts[2]), register(parts[1]))


def _ct(parts: Parts) -> AnyStep:
    if 4 in parts:
        return steps.CtSet(number(parts[2]), register(parts[4]))
    direction = number(parts[3]) if 3 in parts else None
    return steps.Ct(number(parts[2]), register(parts[1]), direction)


def _bitwise(parts: Parts) -> AnyStep:
    operator = _number(parts, 6)
    if operator > 2 or 8 in parts:
        return steps.Strange(f"bitwise {operator}")
    return steps.Bitwise(
        register(parts[1]),
        register(parts[2]),
        number(parts[3]),
        operator,
        _value(parts[4]) if 4 in parts else b"",
        _value(parts[5]) if 5 in parts else b"",
        number(_host(_value(parts[7]))) if 7 in parts else 0,
    )


def _host(value: bytes) -> bytes:
    """Return this machine's number in the network's order."""
    return int.from_bytes(value, "little").to_bytes(len(value), "big")


def _byte_order(parts: Parts) -> AnyStep:
    registers = register(parts[1]), register(parts[2])
    return steps.ByteOrder(*registers, number(parts[4]), number(parts[5]))


def _lookup(parts: Parts) -> AnyStep:
    flags = _number(parts, 5)
    loaded = parts.get(3)
    decides = loaded is not None and number(loaded) == 0
    return steps.Lookup(
        text(parts[1]),
        register(parts[2]),
        None if loaded is None or decides else register(loaded),
        bool(flags & 1),
        decides,
    )


def _update(parts: Parts) -> AnyStep:
    inner = [parts[7]] if 7 in parts else list(list_values(parts.get(10, b"")))
    names = tuple(text(attributes(one)[_NAME]) for one in inner)
    return steps.Update(text(parts[1]), register(parts[4]), names, bool(_number(parts, 9) & 1))


def _draw(parts: Parts) -> AnyStep:
    random = number(parts[3]) == 1
    return steps.Draw(register(parts[1]), number(parts[2]), _number(parts, 4), random)


def _hash(parts: Parts) -> AnyStep:
    return steps.Hash(
        register(parts[2]),
        number(parts[4]),
        _maybe(parts, 1) or 0,
        _number(parts, 3),
        number(parts[5]) if 5 in parts else None,
        _number(parts, 6),
        _number(parts, 7) == 1,
    )


def _nat(parts: Parts) -> AnyStep:
    return steps.Nat(
        number(parts[1]) == 1,
        _maybe(parts, 3),
        _maybe(parts, 4),
        _maybe(parts, 5),
        _maybe(parts, 6),
        _number(parts, 7),
        {2: 4, 10: 6}[number(parts[2])],
    )


def _limit(parts: Parts) -> AnyStep:
    flags, in_bytes = _number(parts, 5), _number(parts, 4) == 1
    rate = number(parts[1]), number(parts[2]), _number(parts, 3)
    return steps.Limit(*rate, bool(flags & 1), in_bytes)


def _extension(parts: Parts) -> AnyStep:
    if 7 in parts:
        return steps.TcpOption()
    length = max(number(parts[4]), 1)
    return steps.Unloadable("an option of the header", register(parts[1]), length)


def _object(parts: Parts) -> AnyStep:
    """Decode a reference to a named object: counters and helpers decide nothing."""
    kind = _number(parts, 1)
    return steps.Quiet("counter") if kind in (1, 3) else steps.Strange(f"object of kind {kind}")


def _xt(make: type[steps.XtMatch] | type[steps.XtTarget]) -> Callable[[Parts], AnyStep]:
    return lambda parts: make(text(parts[1]), number(parts[2]), parts[3])


_KINDS: dict[str, Callable[[Parts], AnyStep]] = {
    "immediate": _immediate,
    "payload": _payload,
    "meta": _meta,
    "ct": _ct,
    "fib": lambda parts: steps.Fib(number(parts[3]), number(parts[2]), register(parts[1])),
    "cmp": lambda parts: steps.Compare(register(parts[1]), number(parts[2]), _value(parts[3])),
    "range": lambda parts: steps.Range(
        register(parts[1]), number(parts[2]), _value(parts[3]), _value(parts[4])
    ),
    "bitwise": _bitwise,
    "byteorder": _byte_order,
    "lookup": _lookup,
    "dynset": _update,
    "numgen": _draw,
    "hash": _hash,
    "nat": _nat,
    "masq": lambda parts: steps.Masquerade(_maybe(parts, 2), _maybe(parts, 3), _number(parts, 1)),
    "redir": lambda parts: steps.Redirect(_maybe(parts, 1), _maybe(parts, 2)),
    "limit": _limit,
    "reject": lambda parts: steps.Reject(number(parts[1]), _number(parts, 2)),
    "notrack": lambda _: steps.Untrack(),
    "exthdr": _extension,
    "rt": lambda parts: steps.Unloadable("a property of the route", register(parts[1])),
    "socket": lambda parts: steps.Unloadable("the receiving socket", register(parts[2])),
    "osf": lambda parts: steps.Unloadable("the sender's system", register(parts[1])),
    "objref": _object,
    "match": _xt(steps.XtMatch),
    "target": _xt(steps.XtTarget),
}
