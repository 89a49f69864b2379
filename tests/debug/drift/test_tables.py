"""The tables of eBPF programs: two histories of the same state, and each sort of damage. Pure."""

from collections.abc import Callable

import pytest

from debug.cluster import Names
from debug.drift.model import Drift, State
from debug.drift.tables import service_drift
from proxy.backends.ebpf.contents import MapContents
from proxy.backends.ebpf.installed.tables import Tables
from proxy.backends.ebpf.layout import PRESENT, pack_slot
from proxy.backends.ebpf.options import EbpfOptions
from proxy.desired.claims import ClaimResolver, WinnerChange
from proxy.model.settings import ProxySettings
from tests.support.views import STATE, desired_of

OPTIONS = {"random": EbpfOptions(), "maglev": EbpfOptions(by_hash=True)}
NAMES = ("frontends", "endpoints", "seats", "members", "ranges")
Bend = Callable[[dict[str, dict[bytes, bytes]]], None]


def steps(*, turned: bool = False) -> list[WinnerChange]:
    claims = ClaimResolver(ProxySettings())
    claims.update(desired_of(STATE))
    made = [WinnerChange(at, None, claim) for at, claim in claims.winners()]
    return made[::-1] if turned else made


def tables(options: EbpfOptions, *, turned: bool = False) -> dict[str, dict[bytes, bytes]]:
    made = MapContents(options).advance(steps(turned=turned))
    return {name: dict(getattr(made, name)) for name in NAMES}


def packed(found: dict[str, dict[bytes, bytes]]) -> Tables:
    return {name: tuple(entries.items()) for name, entries in found.items()}


def differences(options: EbpfOptions, bend: Bend | None = None) -> list[Drift]:
    have = tables(options, turned=True)
    if bend is not None:
        bend(have)
    want = packed(tables(options))
    return list(service_drift("n1", want, packed(have), Names(STATE), {}))


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_numbers_that_another_history_gave_are_no_drift(options: EbpfOptions) -> None:
    assert tables(options) != tables(options, turned=True)
    assert differences(options) == []


def test_seats_that_others_would_choose_otherwise() -> None:
    def bend(have: dict[str, dict[bytes, bytes]]) -> None:
        key, row = max(have["seats"].items(), key=lambda one: len(set(one[1])))
        have["seats"][key] = row[2:] + row[:2]

    (found,) = differences(OPTIONS["maglev"], bend)
    assert (found.state, found.what.split(":")[0]) == (State.FOREIGN, "map seats")


def test_a_source_range_that_is_gone_and_one_that_was_added() -> None:
    def bend(have: dict[str, dict[bytes, bytes]]) -> None:
        key = next(iter(have["ranges"]))
        del have["ranges"][key]
        have["ranges"][key[:8] + bytes(16)] = PRESENT

    found = {one.state: one for one in differences(OPTIONS["random"], bend)}
    assert found.keys() == {State.MISSING, State.STALE}
    assert found[State.MISSING].consequence == "clients of this range are refused"
    assert found[State.STALE].consequence == "clients of this range are let in"


def test_a_pool_that_no_frontend_leads_to_is_stale() -> None:
    def bend(have: dict[str, dict[bytes, bytes]]) -> None:
        have["endpoints"][pack_slot(999, 0)] = next(iter(have["endpoints"].values()))

    (found,) = differences(OPTIONS["random"], bend)
    assert (found.state, found.owner) == (State.STALE, "no frontend")
    assert found.what == "map endpoints: pool 999, with all entries of it"


def test_a_member_that_is_gone() -> None:
    def bend(have: dict[str, dict[bytes, bytes]]) -> None:
        del have["members"][next(iter(have["members"]))]

    (found,) = differences(OPTIONS["random"], bend)
    assert (found.state, found.what.split(":")[0]) == (State.MISSING, "map members")


def test_node_addresses_and_settings_are_compared() -> None:
    have = packed(tables(OPTIONS["random"]))
    address = bytes(10) + b"\xff\xff" + bytes([192, 168, 0, 1])
    want = {**have, "node_addresses": ((address, PRESENT),), "settings": ((bytes(4), b"a"),)}
    told = list(service_drift("n1", want, have, Names(STATE), {}))
    assert [one.what for one in told] == [
        "map node_addresses: 192.168.0.1",
        "map settings: others than the proxy's options",
    ]
