"""A second implementation of nft: it reads the same commands and refuses as the kernel does."""

import copy
import re

_COMMAND = re.compile(
    r"(?P<verb>add|delete|flush) (?P<sort>table|map|set|chain|rule|element) (?P<table>ip6? \S+)"
    r"(?: (?P<name>\S+))?(?: (?P<rest>.*))?"
)
_MEMBER = re.compile(
    r"(?P<key>[0-9a-z.:/]+(?: \. [0-9a-z.:/]+)*)"
    r'(?: comment "[^"\\\n]{0,127}")?(?: : (?P<value>.+))?'
)


class RefusedError(Exception):
    """The kernel would not commit this transaction."""


class FakeNft:
    """One table: chains with rules, sets and maps with elements."""

    def __init__(self) -> None:
        self.exists = False
        self.chains: dict[str, list[str]] = {}
        self.hooks: dict[str, str] = {}
        self.stores: dict[str, dict[str, str]] = {}
        self.specs: dict[str, tuple[str, str]] = {}

    def commit(self, text: str) -> None:
        """Commit one transaction, whole or not at all."""
        work = copy.deepcopy(self)
        for line in text.splitlines():
            found = _COMMAND.fullmatch(line)
            try:
                if found is None:
                    raise RefusedError("not understood")
                getattr(work, f"_{found['verb']}_{found['sort']}")(found["name"], found["rest"])
            except (KeyError, RefusedError, AttributeError) as err:
                raise RefusedError(f"{line}: {err!r}") from err
        self.__dict__ = work.__dict__

    def _add_table(self, *_: str) -> None:
        self.exists = True

    def _flush_table(self, *_: str) -> None:
        self.chains = {name: [] for name in self.chains}

    def _delete_table(self, *_: str) -> None:
        self.__init__()

    def _add_store(self, sort: str, name: str, spec: str) -> None:
        if self.specs.setdefault(name, (sort, spec)) != (sort, spec):
            raise RefusedError("another store has this name")
        self.stores.setdefault(name, {})

    def _add_map(self, name: str, spec: str) -> None:
        self._add_store("map", name, spec)

    def _add_set(self, name: str, spec: str) -> None:
        self._add_store("set", name, spec)

    def _delete_map(self, name: str, _: str) -> None:
        if any(re.search(rf"@{re.escape(name)}(?!\S)", rule) for rule in self._rules()):
            raise RefusedError("in use")
        del self.stores[name], self.specs[name]

    _delete_set = _delete_map

    def _rules(self) -> list[str]:
        return [rule for rules in self.chains.values() for rule in rules]

    def _add_chain(self, name: str, hook: str | None) -> None:
        if len(name) > 127:
            raise RefusedError("name too long")
        self.chains.setdefault(name, [])
        self.hooks[name] = hook or ""

    def _flush_chain(self, name: str, _: str) -> None:
        if name not in self.chains:
            raise RefusedError("no such chain")
        self.chains[name] = []

    def _delete_chain(self, name: str, _: str) -> None:
        verdicts = [value for store in self.stores.values() for value in store.values()]
        uses = re.compile(rf"(goto|jump) {re.escape(name)}(?!\S)")
        if self.chains.pop(name) or any(map(uses.search, [*self._rules(), *verdicts])):
            raise RefusedError("in use")
        del self.hooks[name]

    def _add_rule(self, chain: str, rule: str) -> None:
        self._check(rule)
        self.chains[chain].append(rule)

    def _check(self, text: str) -> None:
        for target in re.findall(r"(?:goto|jump) ([^\s,}]+)", text):
            if target not in self.chains:
                raise RefusedError(f"no chain {target}")
        for store in re.findall(r"@([A-Za-z]\S*)", text):
            if store not in self.stores and not store.startswith(("th,", "nh,")):
                raise RefusedError(f"no store {store}")

    def _members(self, text: str) -> list[tuple[str, str]]:
        parts = [_MEMBER.fullmatch(part) for part in text.strip("{} ").split(", ")]
        if None in parts:
            raise RefusedError("not elements")
        return [(part["key"], part["value"] or "") for part in parts if part]

    def _add_element(self, store: str, text: str) -> None:
        for key, value in self._members(text):
            self._check(value)
            if self.stores[store].setdefault(key, value) != value:
                raise RefusedError(f"{key} exists")

    def _delete_element(self, store: str, text: str) -> None:
        for key, value in self._members(text):
            if self.stores[store].pop(key) != value:
                raise RefusedError(f"{key} has another value")
