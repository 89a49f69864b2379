"""Bad links: what options mean, and what becomes of packets."""

import itertools
import shutil
import subprocess
import sys
from contextlib import contextmanager

import pytest

from lab.link import cable
from lab.link.commands import merge
from lab.link.quality import LinkError, Quality, check_mtu, parse_delay, parse_loss, parse_rate
from lab.link.scripts import Kernel, queues, rules
from lab.spec import make_spec
from lab.state import LabDir

BOTH = Kernel(netem=True, tbf=True)
NOTHING = dict.fromkeys(("delay", "loss", "rate", "mtu", "down")) | {"clear": False}


def test_options_are_numbers_with_units():
    assert (parse_delay("50ms"), parse_delay("1.5s")) == (50.0, 1500.0)
    assert (parse_loss("30"), parse_loss("0.5%")) == (30.0, 0.5)
    assert (parse_rate("10mbit"), parse_rate("1.5gbit")) == (10_000_000, 1_500_000_000)
    assert check_mtu(1280, with_ipv6=True) == 1280


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        *((parse_delay, text) for text in ("", "50", "61s", "-1ms", "1ms;x", "1e3ms", "nans")),
        *((parse_loss, text) for text in ("", "101", "-1", "x", "1e1", "nan", "5%%")),
        *((parse_rate, text) for text in ("", "10", "1kbit", "101gbit", "9" * 99 + "gbit", "x")),
    ],
)
def test_other_texts_are_refused_with_the_form(parse, text):
    with pytest.raises(LinkError, match="want "):
        parse(text)


def test_an_mtu_must_hold_the_families_of_the_lab():
    with pytest.raises(LinkError, match="want 1280 to"):
        check_mtu(1279, with_ipv6=True)
    assert check_mtu(68, with_ipv6=False) == 68


def test_options_change_what_they_name_and_clear_goes_first():
    spec, before = make_spec("a"), Quality(loss=10, mtu=1400)
    assert merge(before, spec, NOTHING) == before
    assert merge(before, spec, NOTHING | {"loss": "0"}) == Quality(mtu=1400)
    assert merge(before, spec, NOTHING | {"clear": True, "down": True}) == Quality(down=True)


def test_each_end_delays_then_paces():
    delay, pace = queues("eth0", Quality(delay=50, rate=8_000_000), BOTH)
    assert delay[5:] == ["root", "handle", "1:", "netem", "delay", "50ms", "limit", "10000"]
    assert pace[5:12] == ["parent", "1:", "handle", "2:", "tbf", "rate", "8mbit"]


def test_a_kernel_without_tbf_drops_what_is_over_the_rate():
    bare = Kernel(netem=False, tbf=False)
    want = Quality(rate=8_000_000)
    assert queues("eth0", want, bare) == []
    assert rules("node1", want, bare).count("limit rate over 1000000 bytes/second") == 2


def test_what_the_kernel_lacks_is_named_before_anything_is_changed():
    with pytest.raises(LinkError, match="no netem"):
        cable.require(Quality(delay=1), Kernel(netem=False, tbf=True))
    cable.require(Quality(loss=1, rate=8000, mtu=99, down=True), Kernel(netem=False, tbf=False))


def test_bad_links_are_remembered_and_good_ones_forgotten(tmp_path):
    lab = LabDir(tmp_path)
    assert cable.recorded(lab) == {}
    cable.record(lab, {"node1": Quality(loss=5), "node2": Quality()})
    assert cable.recorded(lab) == {"node1": Quality(loss=5)}
    cable.forget(lab, "node1")
    assert cable.recorded(lab) == {}


_NUMBERS = itertools.count(1)


@contextmanager
def network():
    """A process in a network of its own; its number."""
    code = "import sys; print('there', flush=True); sys.stdin.read()"
    argv = ["unshare", "--net", sys.executable, "-c", code]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield process.pid
        process.stdin.close()


def at(pid, *words, check=True):
    """Run a command in the network of a process."""
    argv = ["nsenter", f"--target={pid}", "--net", *words]
    return subprocess.run(argv, capture_output=True, text=True, check=check)


@pytest.fixture
def ends():
    """A cable between two networks: the machine's name, and processes at the switch and there."""
    name = f"lk{next(_NUMBERS)}"
    with network() as switch, network() as machine:
        at(switch, *f"ip link add {name} type veth peer name eth0 netns {machine}".split())
        for pid, device, address in (
            (switch, name, "198.51.100.1/24"),
            (machine, "eth0", "198.51.100.2/24"),
        ):
            at(pid, "ip", "addr", "add", address, "dev", device)
            at(pid, "ip", "link", "set", device, "up")
        yield name, switch, machine


def reaches(switch, size=56):
    """True if one of five pings of a size is answered; none may be cut into fragments."""
    argv = ["ping", "-c", "5", "-i", "0.02", "-W", "10", "-w", "20", "-M", "do", "-s", str(size)]
    assert shutil.which("ping")
    return ", 0 received" not in at(switch, *argv, "198.51.100.2", check=False).stdout


@pytest.mark.parametrize("kernel", [cable.kernel(), Kernel(netem=False, tbf=False)])
def test_packets_fare_as_wanted_and_well_after_clear(ends, kernel):
    name, switch, machine = ends

    def now(**quality):
        cable.apply(switch, machine, name, Quality(**quality), kernel)

    assert reaches(switch)
    now(loss=100)
    listed = at(switch, "nft", "list", "ruleset").stdout
    assert listed.count("numgen random mod 1000000 <= 999999") == 2
    assert not quick_reaches(switch)
    now(mtu=600, rate=10_000_000)
    assert reaches(switch, size=500)
    assert not reaches(switch, size=700)
    now(down=True)
    assert not quick_reaches(switch)
    now()
    assert reaches(switch, size=1400)
    left = at(switch, "nft", "list", "ruleset").stdout
    assert "chain" not in left.partition("podwire-link")[2]


def quick_reaches(switch):
    """True if a ping is answered; the wait is for an answer that must not come."""
    argv = ["ping", "-c", "2", "-i", "0.1", "-W", "0.3", "198.51.100.2"]
    return at(switch, *argv, check=False).returncode == 0


def test_a_cable_that_is_not_there_is_named():
    with (
        network() as alone,
        pytest.raises(LinkError, match="the cable of gone cannot be changed: "),
    ):
        cable.apply(alone, alone, "gone", Quality(loss=1), BOTH)
