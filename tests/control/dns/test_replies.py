"""What is read from resolvers' bytes, how long it is kept, and which flags name resolvers. Pure."""

import dns.message
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.dns.cli import from_flags, main
from control.dns.message import RD
from control.dns.names import ROOT, parse
from control.dns.settings import FlagError
from control.dns.upstream import cache
from control.dns.upstream.cache import Cache
from control.dns.upstream.reply import Question, Reply, read_reply
from control.dns.upstream.routes import Routes
from tests.support.control.resolvers import reply

NAME = "www.example.com."
A = f"{NAME} 300 IN A 192.0.2.80"
ALIAS = f"{NAME} 300 IN CNAME web.example.com."
SOA = "example.com. 60 IN SOA ns.example.com. admin.example.com. 1 2 3 4 {}"
QUESTION = Question(parse(NAME), 1, RD, edns=False, dnssec=False)
QUERY = dns.message.make_query(NAME, "A", id=7)

# records, code, most seconds: whether it denies, seconds
KEPT = [
    ([A], 0, 30, False, 30),
    ([A], 0, 3600, False, 300),
    ([A, f"{NAME} 20 IN A 192.0.2.81"], 0, 30, False, 20),
    ([f"{NAME} 0 IN A 192.0.2.80"], 0, 30, False, 5),
    ([f"{NAME} 9 IN A 192.0.2.80"], 0, 3, False, 3),
    ([A], 0, 0, False, 0),
    ([ALIAS, "web.example.com. 7 IN A 192.0.2.80"], 0, 30, False, 7),
    ([ALIAS], 0, 30, True, 0),
    ([ALIAS, SOA.format(9)], 0, 30, True, 9),
    ([SOA.format(600)], 0, 3600, True, 60),
    ([SOA.format(9)], 3, 30, True, 9),
    ([SOA.format(0)], 3, 30, True, 5),
    ([], 0, 30, True, 0),
    ([], 3, 30, True, 0),
    ([], 2, 30, True, 5),
    ([], 5, 30, True, 0),
    ([A], 5, 30, True, 0),
]


@pytest.mark.parametrize(("records", "rcode", "most", "negative", "seconds"), KEPT)
def test_a_reply_says_how_long_it_may_be_kept(records, rcode, most, negative, seconds):
    found = read_reply(QUESTION, reply(QUERY, *records, rcode=rcode), most)
    assert (found.negative, found.seconds) == (negative, seconds)


def test_what_is_cut_is_not_kept():
    packet = bytearray(reply(QUERY, A))
    packet[2] |= 0x02
    assert read_reply(QUESTION, bytes(packet), 30).seconds == 0


@pytest.mark.parametrize(
    ("change", "accepted"),
    [
        ({}, True),
        ({0: 1}, False),  # the ID
        ({2: 0x01}, False),  # a query
        ({2: 0x91}, False),  # another opcode
        ({5: 0}, False),  # without the question
        ({3: 0x81, 5: 0}, True),  # FORMERR, which may come without it
        ({13: ord("W")}, True),  # in other letters
        ({13: ord("v")}, False),
        ({30: 28}, False),  # another type
    ],
)
def test_the_reply_to_another_question_is_not_taken(change, accepted):
    packet = bytearray(reply(QUERY, A))
    for place, value in change.items():
        packet[place] = value
    assert QUESTION.accepts(7, bytes(packet)) is accepted
    assert not QUESTION.accepts(7, bytes(packet[:11]))


@given(st.lists(st.tuples(st.integers(0, 150), st.integers(0, 255)), max_size=8))
@settings(max_examples=150, deadline=None)
def test_any_reply_is_read_or_refused(changes):
    packet = bytearray(reply(QUERY, ALIAS, "web.example.com. 7 IN A 192.0.2.80", SOA.format(9)))
    for place, value in changes:
        packet[place % len(packet)] = value
    found = read_reply(QUESTION, bytes(packet), 30)
    assert found is None or 0 <= found.seconds <= 30


def question(number: int) -> Question:
    return Question(parse(f"a{number}.example."), 1, RD, edns=False, dnssec=False)


def test_a_kept_reply_ages_and_ends():
    now = [100.0]
    kept, fine = Cache(lambda: now[0]), Reply(0, seconds=30)
    kept.put(question(1), fine)
    ages = []
    for now[0] in (100.0, 100.5, 129.5, 130.0, 131.0):
        ages.append(kept.get(question(1)))
    assert ages == [(fine, 30), (fine, 29), (fine, 1), None, None]
    assert kept.counts()["hits_total"] == {("success",): 3, ("denial",): 0}
    assert kept.counts()["entries"] == {("success",): 0, ("denial",): 0}


def test_a_reply_replaces_that_of_another_type():
    kept = Cache(lambda: 0.0)
    kept.put(question(1), Reply(3, seconds=30, negative=True))
    kept.put(question(1), Reply(0, seconds=30))
    assert kept.get(question(1))[0].rcode == 0
    assert kept.counts()["entries"] == {("success",): 1, ("denial",): 0}


@pytest.mark.parametrize("bound", ["MOST_REPLIES", "MOST_BYTES"])
def test_the_oldest_replies_go_when_there_is_no_room(bound, monkeypatch):
    size = Reply(0).size
    monkeypatch.setattr(cache, bound, 10 if bound == "MOST_REPLIES" else 10 * size)
    kept = Cache(lambda: 0.0)
    for number in range(25):
        kept.put(question(number), Reply(0, seconds=30))
    assert [number for number in range(25) if kept.get(question(number))] == list(range(15, 25))
    assert kept.counts()["evictions_total"][("success",)] == 15


def flags(*words: str):
    """Return the settings of a command line."""
    return from_flags(main.make_context("dns", ["--kubeconfig=unused", *words]).params)


def shown(settings) -> dict:
    return {r.domain: [str(server) for server in r.servers] for r in settings.upstream.routes}


def test_resolvers_are_read_from_flags_and_files(tmp_path):
    conf = tmp_path / "resolv.conf"
    conf.write_text("# ours\nnameserver 10.0.0.3\nsearch x\nnameserver fd00::3\n")
    found = flags(
        *("--upstream=10.0.0.1", "--upstream", "[fd00::1]:5353", f"--upstream={conf}"),
        *("--stub-domain=Corp.Example=10.0.0.2:54,fd00::2", "--stub-domain=corp.example=[fd00::4]"),
    )
    assert shown(found) == {
        ROOT: ["10.0.0.1:53", "[fd00::1]:5353", "10.0.0.3:53", "[fd00::3]:53"],
        parse("corp.example"): ["10.0.0.2:54", "[fd00::2]:53", "[fd00::4]:53"],
    }
    routes = Routes(found.upstream.routes)
    assert routes.find(parse("a.corp.example")).domain == parse("corp.example")
    assert routes.find(parse("acorp.example")).domain == ROOT


@pytest.mark.parametrize(
    ("flag", "text", "about"),
    [
        ("--upstream", "dns.example", "write it as 10.0.0.53"),
        ("--upstream", "10.0.0.1:0", "want a port from 1 to 65535"),
        ("--upstream", "10.0.0.1:x", "write it as 10.0.0.53"),
        ("--upstream", "/absent/resolv.conf", "No such file"),
        ("--upstream", "/dev/null", "no line of it is 'nameserver ADDRESS'"),
        ("--stub-domain", "corp.example", "write it as corp.example="),
        ("--stub-domain", "=10.0.0.1", "use --upstream"),
        ("--stub-domain", "a..b=10.0.0.1", "is not a DNS name"),
        ("--stub-domain", ".=10.0.0.1", "use --upstream"),
        ("--stub-domain", "x.cluster.local=10.0.0.1", "are the cluster's own"),
    ],
)
def test_a_wrong_resolver_is_named(flag, text, about):
    with pytest.raises(FlagError, match=f"{flag}.*{about}"):
        flags(flag, text)


def test_a_domain_has_a_bounded_number_of_resolvers():
    with pytest.raises(FlagError, match="16 resolvers: want 15"):
        flags(*(f"--stub-domain=x.example=10.0.0.{number}" for number in range(16)))
