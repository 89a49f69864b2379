"""Compares the rules of policies with what they should be: pure.

Chains and sets have numbers that depend on what came first. So they are compared pair by pair, as
the maps of Pods' addresses lead to them: the chain to which an address leads here with the one to
which it should lead, then what those two ask. What nothing leads to is stale.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import zip_longest
from typing import Any

from debug.drift.model import ROOM, Drift, State
from debug.drift.rules import as_text, plain_member, shown_as
from debug.drift.scratch import Objects
from proxy.policy.render import EGRESS, INGRESS, TAKEN

_NUMBERED = re.compile(r"(@?)([a-z][a-z-]*)-(\d+)")  # of chains and stores that are numbered
_REFUSING = ("deny-", "dropped-", "denied-")
_LOST = {
    EGRESS: "the Pod's own policies do not decide what it sends: it is dropped, or passes unasked",
    INGRESS: "the Pod's own policies do not decide what it gets: it is dropped, or passes unasked",
    "ranges": "a Pod is open to all until its policies are there",
    "bridges": "what unknown Pods of this bridge send passes",
}
_ABSENT = object()
_SHUT, _OPEN = (
    "connections that policies admit are dropped",
    "connections pass that no policy admits",
)


@dataclass
class _Store:
    """A set or map: each member by its key as text, with its value."""

    sort: str
    kind: str  # all but its members
    members: dict[str, Any] = field(default_factory=dict)


@dataclass
class _Table:
    """One table as nft lists it."""

    chains: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))
    hooks: dict[str, str] = field(default_factory=dict)
    stores: dict[str, _Store] = field(default_factory=dict)

    @cached_property
    def by_number(self) -> Mapping[str, list[tuple[str, str]]]:
        """What is numbered: the chains and stores of each number."""
        found: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for sort, names in (("chain", self.chains), ("store", self.stores)):
            for name in names:
                if _is_numbered(name):
                    found[_number(name)].append((sort, name))
        return found


def _read(objects: Objects, family: str, table: str) -> _Table:
    found = _Table()
    for sort, one in objects:
        if (one.get("family"), one.get("table")) != (family, table):
            continue
        if sort == "chain":
            found.chains[one["name"]] += []
            hook = {key: one.get(key) for key in ("hook", "type", "prio", "policy")}
            found.hooks[one["name"]] = as_text(hook)
        elif sort == "rule":
            found.chains[one["chain"]].append(
                [part for part in one["expr"] if "counter" not in part]
            )
        elif sort in ("set", "map"):
            found.stores[one["name"]] = _store(sort, one)
    return found


def _store(sort: str, one: dict[str, Any]) -> _Store:
    kind = {key: one.get(key) for key in ("type", "map", "flags")}
    made = _Store(sort, as_text(kind))
    for member in one.get("elem", ()) if one["name"] != TAKEN else ():
        plain = plain_member(member)
        key, value = plain if sort == "map" else (plain, None)
        made.members[as_text(key)] = value
    return made


@dataclass
class _Comparison:
    """One family's table on a node. Each pair is looked at once."""

    node: str
    family: str
    table: str
    want: _Table
    have: _Table
    owner: Callable[[str], str]
    seen: dict[tuple[str, str, str], str] = field(default_factory=dict)
    waiting: list[tuple[str, str, str]] = field(default_factory=list)

    def drift(self, state: State, sort: str, what: str, owner: str, why: str) -> Drift:
        return Drift(self.node, state, sort, what, owner or "every policy of this node", why)

    def pair(self, sort: str, want: str, have: str, owner: str) -> None:
        """Have two chains or stores compared, with all that have the same two numbers."""
        if (sort, want, have) in self.seen:
            return
        self.seen[sort, want, have] = owner
        self.waiting.append((sort, want, have))
        number = _number(have)
        for kind, name in self.want.by_number.get(_number(want), ()):
            self.pair(kind, name, f"{name.rpartition('-')[0]}-{number}", owner)

    def all(self) -> Iterator[Drift]:
        """Yield every difference."""
        yield from self._fixed("chain", self.want.chains, self.have.chains)
        yield from self._fixed("store", self.want.stores, self.have.stores)
        while self.waiting:
            sort, want, have = self.waiting.pop()
            owner = self.seen[sort, want, have]
            if sort == "chain":
                yield from self._chains(want, have, owner)
            else:
                yield from self._stores(want, have, owner)
        yield from self._left_over()

    def _fixed(
        self, sort: str, want: Mapping[str, Any], have: Mapping[str, Any]
    ) -> Iterator[Drift]:
        """Pair what has a name of its own."""
        for name in want:
            if _is_numbered(name):
                continue
            if name in have:
                self.pair(sort, name, name, "")
            else:
                told = sort if sort == "chain" else self.want.stores[name].sort
                what = f"{told} {self.family} {self.table} {name}"
                yield self.drift(State.MISSING, told, what, "", "no policy of this node holds")

    def _chains(self, want: str, have: str, owner: str) -> Iterator[Drift]:
        where = f"chain {self.family} {self.table} {have}"
        if want not in self.want.chains or have not in self.have.chains:
            if want in self.want.chains:
                yield self.drift(State.MISSING, "chain", where, owner, _SHUT)
            return
        if not _is_numbered(want) and self.want.hooks.get(want) != self.have.hooks.get(have):
            yield self.drift(State.FOREIGN, "chain", f"{where}: another hook", owner, _OPEN)
        wanted, present = (
            _by_form(one) for one in (self.want.chains[want], self.have.chains[have])
        )
        for form in {**wanted, **present}:
            pairs = zip_longest(wanted.get(form, ()), self._matched(form, wanted, present))
            for one, other in pairs:
                if one is None or other is None:
                    state = State.MISSING if other is None else State.FOREIGN
                    rule = shown_as("rule", as_text(one or other))
                    yield self.drift(
                        state, "rule", f"{where}: {rule}", owner, _of_rule(state, rule)
                    )
                else:
                    self._follow(one, other, owner)

    def _matched(
        self, form: str, want: Mapping[str, list[Any]], have: Mapping[str, list[Any]]
    ) -> list[Any]:
        """Return the present rules of a form in the order of those that should be there.

        Several may be alike but for the number of a set: what is in the sets tells them apart.
        """
        wanted, present = want.get(form, []), list(have.get(form, []))
        if len(wanted) < 2 or len(present) < 2:
            return present
        by_content: dict[str, list[Any]] = defaultdict(list)
        for rule in present:
            by_content[self._content(self.have, rule)].append(rule)
        first = [by_content[self._content(self.want, one)] for one in wanted]
        chosen = [found.pop(0) if found else None for found in first]
        left = [rule for rules in by_content.values() for rule in rules]
        filled = [left.pop(0) if one is None and left else one for one in chosen]
        return [*filled, *left]

    def _content(self, side: _Table, rule: Any) -> str:
        names = (name for sort, name in _references(rule) if sort == "store")
        stores = (side.stores.get(name) for name in names)
        return as_text([sorted(one.members) if one else None for one in stores])

    def _follow(self, want: Any, have: Any, owner: str) -> None:
        for (sort, one), (_, other) in zip(_references(want), _references(have), strict=True):
            self.pair(sort, one, other, owner)

    def _stores(self, want: str, have: str, owner: str) -> Iterator[Drift]:
        wanted, present = self.want.stores.get(want), self.have.stores.get(have)
        if wanted is None or present is None:
            if wanted is not None:
                where = f"{wanted.sort} {self.family} {self.table} {have}"
                yield self.drift(State.MISSING, wanted.sort, where, owner, _SHUT)
            return
        where = f"{present.sort} {self.family} {self.table} {have}"
        if wanted.kind != present.kind:
            yield self.drift(State.FOREIGN, present.sort, f"{where}: another type", owner, _SHUT)
        for key in {**wanted.members, **present.members}:
            one, other = (side.members.get(key, _ABSENT) for side in (wanted, present))
            if one is None and other is None:
                continue  # it is in both sets
            of = self._of(have, key, owner)
            if one is not _ABSENT and other is not _ABSENT and _form(one) == _form(other):
                self._follow(one, other, of)
                continue
            for state, members in ((State.MISSING, wanted.members), (State.STALE, present.members)):
                if key in members:
                    yield self._element(state, where, have, (key, members[key]), of)

    def _element(
        self, state: State, where: str, store: str, member: tuple[str, Any], owner: str
    ) -> Drift:
        key, value = json.loads(member[0]), member[1]
        text = shown_as("element", as_text(key if value is None else [key, value]))
        return self.drift(state, "element", f"{where}: {text}", owner, _of_element(state, store))

    def _of(self, store: str, key: str, owner: str) -> str:
        """The owner of an element: the Pod and its policies, or who is let in, by what."""
        named = next(filter(None, map(self.owner, re.findall(r"[0-9A-Fa-f.:]{3,}", key))), "")
        if store in (EGRESS, INGRESS) or not owner:
            return named or owner
        return f"{named.partition(', by ')[0]} for {owner}" if named else owner

    def _left_over(self) -> Iterator[Drift]:
        """Yield what nothing leads to, but for what should be there all the same.

        A profile has a chain in each family, also where no Pod has an address of it.
        """
        led = {(sort, have) for sort, _, have in self.seen}
        meant = {(sort, want) for sort, want, _ in self.seen}
        spare = Counter(
            _contents(self.want, number, parts) for number, parts in self._not(self.want, meant)
        )
        for number, parts in self._not(self.have, led):
            content = _contents(self.have, number, parts)
            if number and spare[content]:
                spare[content] -= 1
                continue
            for sort, name in parts:
                state = State.STALE if number else State.FOREIGN
                told = sort if sort == "chain" else self.have.stores[name].sort
                what = f"{told} {self.family} {self.table} {name}"
                yield self.drift(state, told, what, "no Pod" if number else "nobody", ROOM)

    @staticmethod
    def _not(
        side: _Table, led: set[tuple[str, str]]
    ) -> Iterator[tuple[str, list[tuple[str, str]]]]:
        """Yield what is not in ``led``, together what has one number; "" is what has none."""
        found: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for sort, names in (("chain", side.chains), ("store", side.stores)):
            for name in names:
                if (sort, name) not in led:
                    found[_number(name)].append((sort, name))
        yield from found.items()


def policy_rule_drift(
    node: str, want: Objects, have: Objects, where: tuple[str, str], owner: Callable[[str], str]
) -> Iterator[Drift]:
    """Yield what differs in one table (family, name). ``owner`` names an address, with policies."""
    family, table = where
    wanted, present = (_read(one, family, table) for one in (want, have))
    yield from _Comparison(node, family, table, wanted, present, owner).all()


def _is_numbered(name: str) -> bool:
    return bool(_NUMBERED.fullmatch(name))


def _contents(side: _Table, number: str, parts: Iterable[tuple[str, str]]) -> str:
    """What is in the chains and stores of one number, as a text without numbers."""
    found = []
    for sort, name in parts:
        base = name.removesuffix(f"-{number}")
        if sort == "chain":
            found.append([base, *sorted(map(_form, side.chains[name]))])
        else:
            members = side.stores[name].members
            found.append([base, *sorted(f"{key} {_form(one)}" for key, one in members.items())])
    return as_text(sorted(found))


def _number(name: str) -> str:
    return name.rpartition("-")[2] if _is_numbered(name) else ""


def _form(value: Any) -> str:
    """A rule or a verdict without the numbers of what it asks for."""
    return _NUMBERED.sub(r"\1\2-N", as_text(value))


def _by_form(rules: Iterable[Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = defaultdict(list)
    for rule in rules:
        found[_form(rule)].append(rule)
    return found


def _references(value: Any) -> list[tuple[str, str]]:
    """The numbered chains and stores that a rule or a verdict names, in the order of its text."""
    text = as_text(value)
    found = (one for one in _NUMBERED.finditer(text) if _is_whole(text, one))
    return [("store" if one[1] else "chain", f"{one[2]}-{one[3]}") for one in found]


def _is_whole(text: str, found: re.Match[str]) -> bool:
    """True if a name stands alone between quotes."""
    return text[found.start() - 1] == '"' and text[found.end() : found.end() + 1] == '"'


def _of_rule(state: State, rule: str) -> str:
    admits = "accept" in rule or "goto arrive" in rule
    return _OPEN if admits is (state is State.FOREIGN) else _SHUT


def _of_element(state: State, store: str) -> str:
    if store.startswith(_REFUSING[1:]):
        return "drops of it are not counted" if state is State.MISSING else ROOM
    if store in (EGRESS, INGRESS) or (store in _LOST and state is State.MISSING):
        return _LOST[store]
    refuses = store.startswith(_REFUSING[0])
    return _SHUT if refuses is (state is not State.MISSING) else _OPEN
