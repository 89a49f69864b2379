"""Filters of packets that are there."""

import pytest

from debug.trace.ends import EndError
from debug.trace.live import Match, live_tables, parse_filter
from debug.trace.packet import Flow, Packet


def packet(protocol: str, source: str, destination: str, *ports: int) -> Packet:
    return Packet(Flow(protocol, source, destination, *ports), 1, 64, 40)


def test_a_filter_fits_both_directions_of_a_flow() -> None:
    match = parse_filter("host 10.0.0.2 and port 80 and tcp", "default", None)
    assert match == Match(("10.0.0.2",), (80,), "tcp")
    assert match.fits(packet("tcp", "10.0.0.1", "10.0.0.2", 4000, 80))
    assert match.fits(packet("tcp", "10.0.0.2", "10.0.0.1", 80, 4000))
    assert not match.fits(packet("udp", "10.0.0.1", "10.0.0.2", 4000, 80))
    assert not match.fits(packet("tcp", "10.0.0.1", "10.0.0.3", 4000, 80))
    assert not match.fits(packet("tcp", "10.0.0.1", "10.0.0.2", 4000, 81))


def test_the_rules_of_a_filter_ask_for_what_it_asks() -> None:
    rules = live_tables(Match(("10.0.0.2", "fd00::2", "fd00::3"), (80,), "tcp"), "t")
    assert "ip daddr 10.0.0.2 meta l4proto tcp th dport { 80 }" in rules("ip")
    assert "ip6 saddr { fd00::2, fd00::3 } meta l4proto tcp th sport { 80 }" in rules("ip6")
    assert all(rules(family).count("flags owner") == 1 for family in ("ip", "ip6", "bridge"))
    assert live_tables(Match(("10.0.0.2",)), "t")("ip6") == ""


@pytest.mark.parametrize("text", ["", "port 80", "host 10.0.0.1 or port 80", "tcp; drop", "host "])
def test_what_is_no_filter_is_refused(text: str) -> None:
    with pytest.raises(EndError):
        parse_filter(text, "default", None)


@pytest.mark.parametrize("term", ["port 0", "port 65536", "port -1", "tcp and udp"])
def test_a_term_that_would_mean_something_else_is_refused(term: str) -> None:
    with pytest.raises(EndError, match="is no term of a filter"):
        parse_filter(f"host 10.0.0.1 and {term}", "default", None)


def test_a_filter_of_too_many_addresses_says_how_many() -> None:
    every = " and ".join(f"host 10.0.0.{number}" for number in range(1, 46))
    with pytest.raises(EndError, match=r"of 45 addresses.* at most 30"):
        parse_filter(every, "default", None)
    twice = " and ".join(["host 10.0.0.1"] * 40)
    assert parse_filter(twice, "default", None).hosts == ("10.0.0.1",)
    with pytest.raises(EndError, match="needs a host"):
        parse_filter("tcp", "default", None)
