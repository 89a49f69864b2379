"""The Pods of policies' tests, and who answers them."""

import time

from tests.support.proxy.policies import pod
from tests.support.proxy.prober import TCP, Probe, ask
from tests.support.proxy.process import PATIENCE, RunningProxy

RANGES = {"podCIDRs": ["10.244.1.0/24", "fd00:10:244:1::/64"]}


A, A6, B, B6 = "10.244.1.2", "fd00:10:244:1::2", "10.244.1.3", "fd00:10:244:1::3"
C, C6 = "10.244.2.2", "fd00:10:244:2::2"


P, P6, D, D6 = "10.244.1.9", "fd00:10:244:1::9", "10.244.2.9", "fd00:10:244:2::9"


PODS = (
    pod("a", "n1", A, A6, labels={"app": "a"}, ports={"http": 8080}),
    pod("b", "n1", B, B6, labels={"app": "b"}),
    pod("p", "n1", P, P6, labels={"app": "client"}),
    pod("c", "n2", C, C6, labels={"app": "c"}),
    pod("d", "n2", D, D6, labels={"app": "client"}),
)


def asked(world: RunningProxy, source: str, address: str, port: int = 8080, **how) -> str:
    """Who answers once; ``silent`` for nobody within some time."""
    probe = Probe(address, port, how.get("protocol", TCP), timeout=how.get("timeout", 0.3))
    return world.lab.client(source).call(ask, [probe])[0][0].name


def until_silent(world: RunningProxy, source: str, address: str, port: int = 8080) -> None:
    deadline = time.monotonic() + PATIENCE
    while asked(world, source, address, port) != "silent":
        assert time.monotonic() < deadline, world.log.read_text()
