"""Who has which address, and the choice of a new one. Pure."""

from collections import defaultdict
from collections.abc import Iterable

from control.client.cache import Key
from control.cloud.lab.claims import POOL, SHARING, Claim
from control.cloud.lab.pools import Address, Pool, addresses
from control.cloud.provider import BalancerLostError, CloudError


class Ledger:
    """The addresses of pools, and the Services that have them.

    A Service has what it was given, and what its status shows: a status that a former process
    wrote, and one that a release did not clear yet.
    """

    def __init__(self, pools: tuple[Pool, ...]) -> None:
        self._pools = pools
        self._given: dict[Key, tuple[Address, ...]] = {}
        self._shown: dict[Key, tuple[Address, ...]] = {}
        self._claims: dict[Key, Claim] = {}
        self._holders: dict[Address, set[Key]] = defaultdict(set)
        self._lowest: dict[tuple[str, int], int] = {}  # below it, a pool has no free address

    def replace(self, pools: tuple[Pool, ...]) -> dict[Key, tuple[Address, ...]]:
        """Take other pools from now on; return the Services that lose addresses, and these.

        They keep them until they are given others.
        """
        self._pools, self._lowest = pools, {}
        lost = {}
        for key, present in self._given.items():
            kept = self._kept(key, self._claims[key], present).values()
            if gone := tuple(each for each in present if each not in kept):
                lost[key] = gone
        return lost

    @property
    def pools(self) -> tuple[Pool, ...]:
        """The pools."""
        return self._pools

    def in_use(self) -> dict[str, int]:
        """Return how many addresses of each pool somebody has."""
        count = dict.fromkeys((pool.name for pool in self._pools), 0)
        for address in self._holders:
            if (pool := self._pool_of(address)) is not None:
                count[pool.name] += 1
        return count

    def given(self, key: Key) -> tuple[Address, ...]:
        """Return the addresses that a Service has been given."""
        return self._given.get(key, ())

    def show(self, key: Key, claim: Claim | None, shown: tuple[Address, ...]) -> bool:
        """Note the addresses in a Service's status; return True if one became free."""
        if claim is not None:
            self._claims[key] = claim
        return self._set(self._shown, key, shown)

    def give(self, key: Key, claim: Claim) -> tuple[Address, ...]:
        """Give a Service its addresses, those that it has if they fit.

        Raises CloudError; BalancerLostError if an address that it has is in no pool any more.
        """
        present = self._given.get(key) or self._shown.get(key, ())
        chosen = self._kept(key, claim, present)
        try:
            for version in claim.versions:
                if version not in chosen:
                    chosen[version] = self._choose(key, claim, version, chosen)
        except CloudError as err:
            if all(map(self._pool_of, present)):
                raise
            self.release(key)
            raise BalancerLostError(str(err)) from err
        self._claims[key] = claim
        found = tuple(chosen[version] for version in claim.versions)
        self._set(self._given, key, found)
        return found

    def release(self, key: Key) -> bool:
        """Take a Service's addresses back; return True if one became free."""
        self._set(self._shown, key, ())
        return self._set(self._given, key, ())

    def _set(
        self,
        table: dict[Key, tuple[Address, ...]],
        key: Key,
        wanted: tuple[Address, ...],
    ) -> bool:
        before = {*self._given.get(key, ()), *self._shown.get(key, ())}
        if wanted:
            table[key] = wanted
        else:
            table.pop(key, None)
        after = {*self._given.get(key, ()), *self._shown.get(key, ())}
        for address in after - before:
            self._holders[address].add(key)
        for address in before - after:
            self._leave(key, address)
        if not after:
            self._claims.pop(key, None)
        return before != after and bool(before - after)

    def _leave(self, key: Key, address: Address) -> None:
        self._holders[address].discard(key)
        if not self._holders[address]:
            del self._holders[address]
        if (pool := self._pool_of(address)) is not None:
            place = pool.name, address.version
            self._lowest[place] = min(self._lowest.get(place, 0), int(address))

    def _kept(self, key: Key, claim: Claim, present: Iterable[Address]) -> dict[int, Address]:
        """Return the present addresses that still fit, by family."""
        wanted = {each.version: each for each in claim.requested}
        return {
            address.version: address
            for address in present
            if address.version in claim.versions
            and wanted.get(address.version, address) == address
            and (pool := self._pool_of(address)) is not None
            and claim.pool in ("", pool.name)
            and not self._conflict(key, claim, address, shown=False)
        }

    def _choose(self, key: Key, claim: Claim, version: int, chosen: dict[int, Address]) -> Address:
        for address in claim.requested:
            if address.version == version:
                return self._exactly(key, claim, address)
        pools = self._candidates(claim, version, chosen)
        if shared := self._shareable(key, claim, version, pools):
            return shared
        for pool in pools:
            if (free := self._free(pool, version)) is not None:
                return free
        raise CloudError(self._exhausted(pools, version))

    def _exactly(self, key: Key, claim: Claim, address: Address) -> Address:
        """Return a requested address; raises CloudError."""
        pool = self._pool_of(address)
        if pool is None:
            ranges = ", ".join(str(each) for pool in self._pools for each in pool.ranges)
            raise CloudError(
                f"address {address} is in no pool; ask for one of {ranges or 'none: add a pool'}"
            )
        if claim.pool not in ("", pool.name):
            raise CloudError(
                f"address {address} is in pool {pool.name}, but annotation {POOL} says "
                f"{claim.pool}; correct one of them"
            )
        if why := self._conflict(key, claim, address, shown=True):
            raise CloudError(f"address {address} is taken: {why}; ask for another")
        return address

    def _candidates(self, claim: Claim, version: int, chosen: dict[int, Address]) -> list[Pool]:
        """Return the pools that a Service may use; both families come from one, if possible."""
        if claim.pool:
            found = [pool for pool in self._pools if pool.name == claim.pool]
            if not found:
                names = ", ".join(pool.name for pool in self._pools) or "none"
                raise CloudError(
                    f"annotation {POOL} names pool {claim.pool}, which does not exist; the pools: "
                    f"{names}"
                )
        else:
            found = [pool for pool in self._pools if pool.automatic]
        same = {pool.name for address in chosen.values() if (pool := self._pool_of(address))}
        found = [pool for pool in found if pool.of_family(version)]
        if not found:
            raise CloudError(
                f"no pool has IPv{version} addresses for it; add a range to a pool with autoAssign,"
                f" or ask for a pool with annotation {POOL}"
            )
        return sorted(found, key=lambda pool: pool.name not in same)

    def _shareable(self, key: Key, claim: Claim, version: int, pools: list[Pool]) -> Address | None:
        """Return an address that a Service with the same key has and can share."""
        if not claim.key:
            return None
        for other, theirs in self._claims.items():
            if other == key or theirs.key != claim.key:
                continue
            for address in (*self._given.get(other, ()), *self._shown.get(other, ())):
                fits = address.version == version and any(pool.holds(address) for pool in pools)
                if fits and not self._conflict(key, claim, address, shown=True):
                    return address
        return None

    def _free(self, pool: Pool, version: int) -> Address | None:
        """Return the lowest address that nobody has."""
        place = pool.name, version
        for address in addresses(pool, version, self._lowest.get(place, 0)):
            if address not in self._holders:
                self._lowest[place] = int(address)
                return address
        self._lowest[place] = 1 << 128
        return None

    def _conflict(self, key: Key, claim: Claim, address: Address, *, shown: bool) -> str:
        """Return why a Service cannot have an address; "" if it can.

        With ``shown`` False, who only shows the address in its status does not count.
        """
        for other in sorted(self._holders.get(address, ())):
            if other == key or not (shown or address in self._given.get(other, ())):
                continue
            if why := claim.shares(self._claims[other]):
                return why
        return ""

    def _pool_of(self, address: Address) -> Pool | None:
        return next((pool for pool in self._pools if pool.holds(address)), None)

    def _exhausted(self, pools: list[Pool], version: int) -> str:
        sizes = ", ".join(
            f"{pool.name} ({sum(each.size for each in pool.of_family(version))} addresses)"
            for pool in pools
        )
        return (
            f"no free IPv{version} address in pool {sizes}; delete a Service of type LoadBalancer, "
            f"add a range to the pool, or let Services share an address by annotation {SHARING}"
        )
