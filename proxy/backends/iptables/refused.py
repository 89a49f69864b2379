"""Finds the Services whose rules the kernel refuses, where nobody names the rule; pure.

iptables-legacy checks modules in the kernel when it commits, so it reports the line of COMMIT for
every rule that the kernel refuses. Some Services are tried without the others then.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from proxy.backends.iptables import names
from proxy.backends.iptables.names import ChainName
from proxy.backends.iptables.render import Rules
from proxy.backends.iptables.ruleset import ChainChanges, IptablesRuleset
from proxy.model.values import Key

COMMIT = "COMMIT"  # the line that is reported if the kernel refuses any rule of a table

_QUOTED = re.compile(r'"[^"]*"')
_WORDS = re.compile(r"(?<!\S)(?:-[mpj] (?!KUBE-)\S+|--[a-z-]+)")

Accepts = Callable[[Sequence[Key]], bool]


def find_refused(ruleset: IptablesRuleset, accepts: Accepts) -> list[Key]:
    """Return the Services that ``accepts`` refuses, by halving.

    Services with the same matches and targets need the same modules, so they are neighbors. A run
    of them counts as refused if its first, middle and last one are. So the number of trials grows
    with the logarithm of the Services, also if a module is missing that many of them need.
    """
    if not accepts(()):  # the rules that no Service changes
        return []
    keys = ruleset.keys()
    shapes = {key: _shape(ruleset.rules_of(key)) for key in keys}
    return list(_search(sorted(shapes, key=lambda key: (shapes[key], key)), shapes, accepts))


def trial(ruleset: IptablesRuleset, keys: Sequence[Key]) -> ChainChanges:
    """Return the step that shows whether the kernel takes the rules of some Services.

    It writes the fixed chains and their own, as a load does, and their lines in shared chains into
    chains to which nothing jumps.
    """
    return ChainChanges({**ruleset.fixed, **ruleset.own_chains(keys), **_apart(ruleset, keys)})


def end_of_trials() -> ChainChanges:
    """Return the step that removes what trials wrote."""
    return ChainChanges(drop=frozenset(names.TRIALS))


def _apart(ruleset: IptablesRuleset, keys: Sequence[Key]) -> Mapping[ChainName, Rules]:
    lines = [line for key in keys for line in ruleset.lines_of(key)]
    return {
        chain: tuple(rule for origin, rule in lines if origin.table is chain.table)
        for chain in names.TRIALS
    }


def _shape(rules: Sequence[str]) -> tuple[str, ...]:
    """Return the matches, targets and options of some rules, without their values."""
    return tuple(sorted({word for rule in rules for word in _WORDS.findall(_QUOTED.sub("", rule))}))


def _search(
    part: Sequence[Key], shapes: Mapping[Key, tuple[str, ...]], accepts: Accepts
) -> Iterator[Key]:
    if not part or accepts(part):
        return
    middle = len(part) // 2
    samples = dict.fromkeys((part[0], part[middle], part[-1]))
    alike = shapes[part[0]] == shapes[part[-1]]
    if len(part) == 1 or (alike and not any(accepts([sample]) for sample in samples)):
        yield from part
        return
    yield from _search(part[:middle], shapes, accepts)
    yield from _search(part[middle:], shapes, accepts)
