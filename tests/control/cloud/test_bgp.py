"""What a node tells its routers, as exabgp's own parser reads it."""

from base64 import b64encode
from ipaddress import ip_address
from pathlib import Path

import pytest

from control.cloud.speaker.bgp import (
    Bgp,
    BgpError,
    Peer,
    Session,
    commands,
    configuration,
    exports,
    password,
    peer,
)
from control.cloud.speaker.metrics import measure_bgp
from control.cloud.speaker.sessions import Sessions
from control.metrics import Registry

V4, V6 = ip_address("198.51.100.200"), ip_address("2001:db8:1::200")
PIPE = Path("/pipe")
OWN = (ip_address("192.0.2.2"), ip_address("2001:db8::2"))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("192.0.2.1,64512", Peer(ip_address("192.0.2.1"), 64512)),
        ("2001:db8::1, 4294967295", Peer(ip_address("2001:db8::1"), 4294967295)),
    ],
)
def test_a_peer_is_read(text: str, wanted: Peer) -> None:
    assert peer(text) == wanted


@pytest.mark.parametrize("text", ["", "192.0.2.1", "192.0.2.1,0", "x,1", "192.0.2.1,4294967296"])
def test_another_peer_is_refused(text: str) -> None:
    with pytest.raises(BgpError, match=r"write it as 192\.0\.2\.1,64512"):
        peer(text)


def test_a_node_announces_what_it_may_take() -> None:
    may = {V4: frozenset({"a", "b"}), V6: frozenset({"b"})}
    assert [exports(may, name) for name in "abc"] == [{V4}, {V4, V6}, set()]


def test_a_peer_of_a_family_that_the_node_has_not_is_refused() -> None:
    session = Session("n", 64513, (peer("2001:db8::1,64512"),), OWN[:1])
    with pytest.raises(BgpError, match="peer 2001:db8::1: the node has no IPv6 address"):
        configuration(session, (), PIPE)


def test_each_peer_gets_the_routes_of_its_family() -> None:
    peers = (peer("192.0.2.1,64512"), peer("2001:db8::1,64512"))
    session = Session("n", 64513, peers, OWN)
    assert commands(session, "announce", {V6, V4}).splitlines() == [
        "neighbor 192.0.2.1 announce route 198.51.100.200/32 next-hop 192.0.2.2",
        "neighbor 2001:db8::1 announce route 2001:db8:1::200/128 next-hop 2001:db8::2",
    ]
    alone = configuration(Session("n", 64513, peers[1:], OWN[1:]), {V6}, PIPE)
    (router_id,) = [line.split()[1] for line in alone.splitlines() if "router-id" in line]
    assert ip_address(router_id.rstrip(";")).version == 4


def test_a_session_without_options_has_none_of_their_lines() -> None:
    peers = (peer("192.0.2.1,64512"),)
    plain = configuration(Session("n", 64513, peers, OWN), (), PIPE)
    assert "capability" not in plain and "md5" not in plain
    text = configuration(Session("n", 64513, peers, OWN, restart=120, password=b'a b;"}'), (), PIPE)
    assert "graceful-restart 120;" in text
    assert b64encode(b'a b;"}').decode() in text and 'a b;"}' not in text


@pytest.mark.parametrize("content", [b"", b"\n", b"x" * 81, b"a\nb", "\u00e9".encode()])
def test_a_password_that_cannot_be_is_refused(content: bytes) -> None:
    with pytest.raises(BgpError, match="one line of 1 to 80 ASCII"):
        password(content)
    assert password(b" a;b \n") == b" a;b "


def test_sessions_are_up_from_up_to_down_however_the_lines_are_cut() -> None:
    lines = (
        b"neighbor 192.0.2.1 connected\nneighbor 192.0.2.1 up\nneighbor x up\nshutdown 1 2\n"
        b"neighbor 2001:db8::1 up\nneighbor 192.0.2.1 down - peer reset\n\xff\n"
    )
    router, other = ip_address("192.0.2.1"), ip_address("2001:db8::1")
    for size in (1, 7, len(lines)):
        sessions = Sessions()
        pieces = [lines[at : at + size] for at in range(0, len(lines), size)]
        changes = [change for piece in pieces for change in sessions.take(piece)]
        assert changes == [(router, True), (other, True), (router, False)]
        assert sessions.up == {other}
        sessions.reset()
        assert sessions.up == set()


def test_a_line_without_end_is_bounded() -> None:
    sessions = Sessions()
    for _ in range(100):
        assert sessions.take(b"x" * 65536) == []
    assert len(sessions._rest) <= 4096


def test_metrics_name_each_router_and_its_routes() -> None:
    peers = (peer("192.0.2.1,64512"), peer("2001:db8::1,64512"))
    bgp, registry = Bgp(Session("n", 64513, peers, OWN)), Registry()
    measure_bgp(registry, bgp)
    bgp.decide({V4: frozenset({"n"}), V6: frozenset({"other"})})
    bgp._sessions.take(b"neighbor 2001:db8::1 up\n")
    page = registry.text()
    for line in (
        'metallb_bgp_session_up{peer="192.0.2.1:179"} 0',
        'metallb_bgp_session_up{peer="2001:db8::1:179"} 1',
        'metallb_bgp_announced_prefixes_total{peer="192.0.2.1:179"} 0',
        'metallb_bgp_announced_prefixes_total{peer="2001:db8::1:179"} 0',
        'metallb_bgp_pending_prefixes_total{peer="192.0.2.1:179"} 1',
    ):
        assert line in page.splitlines()
    bgp._sessions.take(b"neighbor 192.0.2.1 up\n")
    assert 'metallb_bgp_announced_prefixes_total{peer="192.0.2.1:179"} 1' in registry.text()
    bgp._folder.cleanup()  # nothing has run in it
