"""The first load, and every load after a failed write: all rules, in steps; pure.

With 5,000 Services in one transaction iptables-nft takes most of a minute, because the kernel
searches the transaction for each new chain. With 500 at a time it takes seconds
(docs/proxy/design.md). iptables-legacy copies the whole table for each transaction, so there all
are one step.
"""

from collections.abc import Collection, Iterator

from msgspec.structs import replace

from proxy.backends.iptables import names
from proxy.backends.iptables.big import is_big, slices
from proxy.backends.iptables.names import ChainName
from proxy.backends.iptables.observe import ObservedChains
from proxy.backends.iptables.ruleset import ChainChanges, IptablesRuleset
from proxy.model.values import Key

CHUNK = 500  # Services in one transaction


def load(
    ruleset: IptablesRuleset,
    observed: ObservedChains,
    chunk: int | None,
    later: Collection[Key] = (),
) -> Iterator[ChainChanges]:
    """Yield the steps from the observed state to the ruleset's state.

    Services that are there already are served throughout: their chains keep their names, each step
    leaves every chain whole, and the last step removes stale chains. Until that step the address of
    a Service whose traffic policy changed meanwhile leads to the chain of its earlier policy. Own
    chains of Services that follow ``later`` stay as they are, and stale ones with them: those may
    lead there.
    """
    every = ruleset.keys()
    keys = [key for key in every if key not in later]
    last = finish(ruleset, observed)
    if later:
        last = replace(last, drop=frozenset())
    big = [key for key in keys if is_big(ruleset.have.portals_of(key), ruleset.family)]
    big = big if chunk else []
    if chunk is None or (len(keys) <= chunk and not big):
        yield replace(last, put={**ruleset.own_chains(keys), **last.put})
        return
    yield ChainChanges(ruleset.fixed)
    for part in _parts([key for key in keys if key not in big], chunk):
        yield ChainChanges(ruleset.own_chains(part))
    if big:
        # Others are served first. A big Service that an earlier run wrote is served throughout.
        new = {key for key in big if not _entries(ruleset, key) <= observed.chains}
        yield ChainChanges(ruleset.common(new), jumps=last.jumps)
        for key in big:
            yield from slices(ruleset.own_of(key))
        last = replace(last, jumps=())
    yield last


def standing(ruleset: IptablesRuleset, observed: ObservedChains) -> list[Key]:
    """Return the big Services that an earlier run wrote: the kernel has their chains."""
    every = ruleset.keys()
    return [
        key
        for key in every
        if is_big(ruleset.have.portals_of(key), ruleset.family)
        and _entries(ruleset, key) <= observed.chains
    ]


def _entries(ruleset: IptablesRuleset, key: Key) -> set[ChainName]:
    """Return the chains of a Service to which shared chains may jump."""
    return {chain for chain in ruleset.own_of(key) if not chain.name.startswith("KUBE-SEP-")}


def finish(ruleset: IptablesRuleset, observed: ObservedChains) -> ChainChanges:
    """Return the step that puts every Service into force: shared chains, jumps, removal of stale
    chains.
    """
    put = ruleset.common()
    kept = {*put, *ruleset.own_chains(ruleset.keys())}
    stale = frozenset(
        chain
        for chain in observed.chains - kept
        if names.is_service_chain(chain) or chain in (*names.TRIALS, *names.IPVS)
    )
    missing = tuple(
        jump for jump in ruleset.jumps if (jump.origin, jump.rule) not in observed.entries
    )
    return ChainChanges(put, stale - observed.held, missing, tuple(_of_ipvs(observed)))


def _of_ipvs(observed: ObservedChains) -> Iterator[tuple[ChainName, str]]:
    """Yield the jumps of kube-proxy's mode ipvs that no other mode has."""
    chains = {chain.name for chain in names.IPVS}
    for origin, rule in sorted(observed.entries):
        if rule.rpartition("-j ")[2] in chains or names.IPVS_COMMENT in rule:
            yield origin, rule


def is_complete(ruleset: IptablesRuleset, observed: ObservedChains) -> bool:
    """Return True if every chain and jump is there, and the right number of rules."""
    wanted = {**ruleset.common(), **ruleset.own_chains(ruleset.keys())}
    count = sum(len(rules) for chain, rules in wanted.items() if chain != names.LOCALNET)
    jumps = all((jump.origin, jump.rule) in observed.entries for jump in ruleset.jumps)
    return jumps and wanted.keys() <= observed.chains and count == observed.rules


def _parts(keys: list[Key], size: int) -> Iterator[list[Key]]:
    for start in range(0, len(keys), size):
        yield keys[start : start + size]
