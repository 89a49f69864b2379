"""The iptables backend with a kernel that refuses rules."""

from ipaddress import ip_address

import pytest

from proxy.backends.iptables import backend as module
from proxy.backends.iptables import legacy
from proxy.backends.iptables.backend import IptablesFamily
from proxy.backends.iptables.tool import Flavor
from proxy.desired.tracker import Tracker
from proxy.model.errors import KernelRefusedError
from proxy.model.values import Endpoint, Family, Port, Protocol, Service, Slice, Target
from tests.support.proxy.fake_iptables import FakeIptables
from tests.support.proxy.strategies import NODE, SETTINGS


class FakeTool(FakeIptables):
    """An iptables command. Its kernel refuses rules that contain ``refuses``, or all rules."""

    family, flavor = Family.V4, Flavor.NFT

    def __init__(self) -> None:
        super().__init__()
        self.refuses = ""
        self.broken = False
        self.transactions: list[bytes] = []

    def restore(self, transaction: bytes) -> None:
        self.transactions.append(transaction)
        if self.broken:
            raise KernelRefusedError("broken")
        for line in transaction.decode().splitlines():
            if self.refuses and self.refuses in line:
                raise KernelRefusedError("no such module", line)
        super().restore(transaction)


def tracker(*protocols: Protocol) -> Tracker:
    made = Tracker(NODE, (Family.V4,))
    for number, protocol in enumerate(protocols):
        add(made, number, protocol)
    return made


def add(made: Tracker, number: int, protocol: Protocol, pods: int = 1) -> None:
    key = ("ns", protocol.lower())
    ports = (Port("", protocol, 80),)
    made.set_service(key, Service(key, ports, (ip_address("10.96.0.1") + number,)))
    first = ip_address("10.244.0.1")
    endpoints = tuple(Endpoint(Target.of(first + one, 80)) for one in range(pods))
    made.set_slice(key, Slice(key, {("", protocol): endpoints}))


def rules(tool: FakeTool) -> str:
    return "\n".join(tool.tables["nat"]["KUBE-SERVICES"])


def test_after_a_failed_write_everything_is_written():
    tool, made = FakeTool(), tracker(Protocol.TCP)
    backend = IptablesFamily(tool, SETTINGS)
    backend.apply(made.desired(), NODE)
    tool.broken = True
    add(made, 1, Protocol.UDP)
    with pytest.raises(KernelRefusedError):
        backend.apply(made.desired(), NODE)
    tool.broken = False
    tool.tables = FakeIptables().tables  # whatever has happened meanwhile
    backend.apply(made.desired(), NODE)
    assert "10.96.0.1" in rules(tool)
    assert "10.96.0.2" in rules(tool)


def test_nothing_is_written_when_nothing_changed():
    tool, made = FakeTool(), tracker(Protocol.TCP)
    backend = IptablesFamily(tool, SETTINGS)
    backend.apply(made.desired(), NODE)
    tool.transactions.clear()
    backend.apply(made.desired(), NODE)
    assert tool.transactions == []


def test_a_service_that_the_kernel_cannot_serve_stops_no_other(caplog):
    tool, made = FakeTool(), tracker(Protocol.TCP, Protocol.SCTP, Protocol.UDP)
    tool.refuses = "sctp"
    backend = IptablesFamily(tool, SETTINGS)
    backend.apply(made.desired(), NODE)
    assert "-d 10.96.0.1 " in rules(tool)
    assert "-d 10.96.0.3 " in rules(tool)
    assert "sctp" not in rules(tool)
    assert "Service ns/sctp is not served" in caplog.text
    caplog.clear()
    add(made, 0, Protocol.TCP, pods=2)  # others change, and it is not tried again
    backend.apply(made.desired(), NODE)
    assert not caplog.text
    tool.refuses = ""
    add(made, 1, Protocol.SCTP, pods=2)
    backend.apply(made.desired(), NODE)
    assert "-d 10.96.0.2 " in rules(tool)


def test_a_kernel_that_refuses_everything_is_reported_once():
    tool = FakeTool()
    tool.refuses = "KUBE-POSTROUTING"
    with pytest.raises(KernelRefusedError):
        IptablesFamily(tool, SETTINGS).apply(tracker(Protocol.TCP).desired(), NODE)


class Legacy(FakeTool):
    """Legacy tables, which send no events but can be read."""

    flavor = Flavor.LEGACY

    def size(self, _: Family) -> tuple[int, ...]:
        return (1, len(self.save()))

    def digest(self, _: Family) -> bytes:
        return self.save().encode()


@pytest.mark.parametrize(("small", "looks"), [(10**6, 0), (0, 2)])
def test_a_replaced_rule_is_noticed(monkeypatch, small, looks):
    """In small tables at once after a write, in big ones after they were read."""
    tool = Legacy()
    monkeypatch.setattr(module, "_SMALL", small)
    monkeypatch.setattr(legacy, "size", tool.size)
    monkeypatch.setattr(legacy, "digest", tool.digest)
    backend = IptablesFamily(tool, SETTINGS)
    backend.apply(tracker(Protocol.TCP).desired(), NODE)
    for _ in range(looks):
        assert not backend.has_other_rules(touched=True)
    chain = tool.tables["nat"]["KUBE-SERVICES"]
    chain[0] = chain[0].replace("10.96.0.1", "10.96.0.2")
    assert not backend.is_resized()
    assert not backend.has_other_rules(touched=False)
    assert backend.has_other_rules(touched=True)
