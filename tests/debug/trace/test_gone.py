"""A Pod that ends while its packets are told, as those of a rollout do."""

from pathlib import Path

from debug.machine.files import reservations
from debug.places import Place
from debug.trace.live import Match
from debug.trace.sought import of_match
from debug.trace.watch.routes import Leads, leads
from debug.trace.watch.rulebook import read_chains, read_element
from debug.trace.watch.spaces import Watch

GONE = Place("n1", 1, "/gone", ("default", "web"))


def test_what_it_had_is_missing_from_the_trace_and_the_trace_goes_on() -> None:
    key = ("ip", "nat", "services")
    assert read_chains(GONE, [key]) == {}
    assert read_element(GONE, key, b"") == ""
    assert leads(GONE, "10.1.2.2") == Leads("")


def test_a_watch_says_that_it_is_blind_there() -> None:
    watch = Watch(of_match(Match(("10.1.2.2",))))
    watch.add(GONE, lambda _: "")
    assert watch.blind == ["Pod default/web: its network is gone (No such file or directory)"]
    watch.close()


def test_a_lease_that_is_given_back_meanwhile_is_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / "var/lib/cni/networks/net"
    folder.mkdir(parents=True)
    (folder / "10.1.1.2").symlink_to("gone")
    (folder / "10.1.1.3").write_text("container\neth0")
    assert [one.address for one in reservations(tmp_path)] == ["10.1.1.3"]
