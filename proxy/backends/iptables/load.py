"""The first load, and every load after a failed write: all of it, in steps; pure.

In one transaction 5,000 Services take iptables-nft most of a minute, because the kernel looks
through the transaction for each new chain; 500 at a time they take seconds (docs/proxy/design.md).
iptables-legacy copies the whole table for each transaction, so there it is one.
"""

from collections.abc import Iterator

from proxy.backends.iptables import names
from proxy.backends.iptables.observe import ObservedChains
from proxy.backends.iptables.ruleset import ChainChanges, IptablesRuleset
from proxy.model.values import Key

CHUNK = 500  # Services in one transaction


def load(
    ruleset: IptablesRuleset, observed: ObservedChains, chunk: int | None
) -> Iterator[ChainChanges]:
    """The steps from whatever is there to the ruleset's state.

    Services that are there already are served throughout: their chains keep their names, each step
    leaves every chain whole, and what is stale goes last.
    """
    keys = ruleset.keys()
    last = finish(ruleset, observed)
    if chunk is None or len(keys) <= chunk:
        yield ChainChanges({**ruleset.own_chains(keys), **last.put}, last.drop, last.jumps)
        return
    yield ChainChanges(ruleset.fixed)
    for part in _parts(keys, chunk):
        yield ChainChanges(ruleset.own_chains(part))
    yield last


def finish(ruleset: IptablesRuleset, observed: ObservedChains) -> ChainChanges:
    """The step that puts every Service into force: shared chains, jumps, and stale chains gone."""
    put = ruleset.common()
    kept = {*put, *ruleset.own_chains(ruleset.keys())}
    stale = frozenset(chain for chain in observed.chains - kept if names.is_service_chain(chain))
    missing = tuple(
        jump for jump in ruleset.jumps if (jump.origin, jump.rule) not in observed.entries
    )
    return ChainChanges(put, stale - observed.held, missing)


def is_complete(ruleset: IptablesRuleset, observed: ObservedChains) -> bool:
    """Whether everything is there, by name and number."""
    wanted = {**ruleset.common(), **ruleset.own_chains(ruleset.keys())}
    count = sum(len(rules) for chain, rules in wanted.items() if chain != names.LOCALNET)
    jumps = all((jump.origin, jump.rule) in observed.entries for jump in ruleset.jumps)
    return jumps and wanted.keys() <= observed.chains and count == observed.rules


def _parts(keys: list[Key], size: int) -> Iterator[list[Key]]:
    for start in range(0, len(keys), size):
        yield keys[start : start + size]
