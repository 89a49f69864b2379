"""Compares rulesets as their tools list them: pure.

Rules of a chain are compared without their order, counters and handles. The clients that sticky
sets remember are no drift.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from debug.cluster import Names
from debug.doctor.rules import line
from debug.drift.model import Drift, State
from debug.drift.scratch import Objects
from proxy.backends.iptables.names import ChainName, Table, is_ours
from proxy.backends.nftables.objects import CLIENTS

_COUNTING = re.compile(r"-m nfacct --nfacct-name +\S+ ?")  # where the kernel has such counters
_LOST = {
    "chain": "rules that call it do nothing",
    "rule": "packets are not decided as they should be",
    "element": "connections to it are not balanced, or go elsewhere",
    "set": "rules that ask it match nothing",
    "map": "rules that ask it match nothing",
}
_ADDED = "packets may go another way than the API's objects say"
_TEXT = msgspec.json.Encoder(order="sorted")
_VOLATILE = ("handle", "index", "counter", "elem", "comment")


def as_text(value: Any) -> str:
    """Return nft's JSON as a text that is the same for equal values."""
    return _TEXT.encode(value).decode()


def nft_drift(
    node: str, want: Objects, have: Objects, tables: set[tuple[str, str]], names: Names
) -> Iterator[Drift]:
    """Yield what differs in tables (family, name) that podwire owns."""
    wanted, present = _counted(want, tables), _counted(have, tables)
    for sort, where, text in wanted - present:
        owner = _owner(text, names)
        yield Drift(
            node, State.MISSING, sort, f"{where}: {shown_as(sort, text)}", owner, _LOST[sort]
        )
    for sort, where, text in present - wanted:
        state = State.STALE if sort == "element" else State.FOREIGN
        owner = _owner(text, names) or "nobody of podwire"
        yield Drift(node, state, sort, f"{where}: {shown_as(sort, text)}", owner, _ADDED)


def _counted(objects: Objects, tables: set[tuple[str, str]]) -> Counter[tuple[str, str, str]]:
    found: Counter[tuple[str, str, str]] = Counter()
    for sort, one in objects:
        if (one.get("family"), one.get("table")) in tables:
            found.update(_parts(sort, one))
    return found


def _parts(sort: str, one: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    table = f"{one['family']} {one['table']}"
    if sort == "rule":
        expressions = [part for part in one["expr"] if "counter" not in part]
        yield "rule", f"chain {table} {one['chain']}", as_text(expressions)
    elif sort in ("chain", "set", "map"):
        kept = {key: value for key, value in one.items() if key not in _VOLATILE}
        yield sort, f"{sort} {table} {one['name']}", as_text(kept)
        for member in one.get("elem", ()) if one["name"] != CLIENTS else ():
            where = f"{sort} {table} {one['name']}"
            yield "element", where, as_text(plain_member(member))


def plain_member(member: Any) -> Any:
    """A set's member without its counter and its comment, which names its Service's port."""
    match member:
        case [key, value]:
            return [plain_member(key), value]
        case {"elem": {"val": value}}:
            return value
    return member


def shown_as(sort: str, text: str) -> str:
    """A rule's or an element's JSON in short words."""
    value = json.loads(text)
    if sort == "rule":
        return line({"expr": value})
    if sort == "element":
        return " : ".join(_words(part) for part in (value if isinstance(value, list) else [value]))
    return sort


def _words(value: Any) -> str:
    match value:
        case {"concat": parts}:
            found = " . ".join(_words(part) for part in parts)
        case {"goto": {"target": target}}:
            found = f"goto {target}"
        case str() | int():
            found = str(value)
        case {"accept": None} | {"drop": None} | {"return": None}:
            found = str(next(iter(value)))
        case {"prefix": {"addr": address, "len": length}}:
            found = f"{address}/{length}"
        case {"range": [first, last]}:
            found = f"{_words(first)}-{_words(last)}"
        case _:
            found = json.dumps(value)
    return found


def _owner(text: str, names: Names) -> str:
    """The Service, Pod or node of the first address that has a name."""
    found = (names.of(word) for word in text.replace('"', " ").replace(",", " ").split())
    return next((name for name in found if name), "")


def iptables_drift(node: str, flavor: str, want: str, have: str, names: Names) -> Iterator[Drift]:
    """Yield what differs in the proxy's chains, and in the jumps to them."""
    wanted, present = _rows(want), _rows(have)
    for table, row in wanted - present:
        what = f"iptables ({flavor}) table {table}: {row}"
        yield Drift(node, State.MISSING, "rule", what, _of_row(row, names), _LOST["rule"])
    for table, row in present - wanted:
        what = f"iptables ({flavor}) table {table}: {row}"
        owner = _of_row(row, names) or "nobody of podwire"
        yield Drift(node, State.FOREIGN, "rule", what, owner, _ADDED)


def _rows(text: str) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    table = ""
    for row in text.splitlines():
        if row.startswith("*"):
            table = row[1:]
        elif row.startswith("-A ") and _is_of_proxy(table, row):
            plain = _COUNTING.sub("", row)
            if plain == row or "-j " in plain:  # a row without a target only counts
                found[table, plain] += 1
    return found


def _is_of_proxy(table: str, row: str) -> bool:
    if table not in list(Table):
        return False
    chain, target = row.split(" ", 2)[1], row.rpartition("-j ")[2].split(" ")[0]
    return any(is_ours(ChainName(Table(table), name)) for name in (chain, target))


def _of_row(row: str, names: Names) -> str:
    words: Iterable[str] = row.replace("/32", " ").replace("/128", " ").split()
    found = (names.of(word) or names.of(word.rpartition(":")[0].strip("[]")) for word in words)
    return next((name for name in found if name), "")
