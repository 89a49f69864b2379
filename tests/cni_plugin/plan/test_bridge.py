"""The order of the bridge's operations."""

import json
from ipaddress import ip_interface

from cni_plugin.plan import ops, plan_add
from cni_plugin.spec.kernel_state import StateBeforeAdd
from cni_plugin.spec.request import parse_request
from cni_plugin.spec.result import IPConfig, Result


def test_what_waits_for_an_address_is_dropped_before_its_container_can_answer():
    """The packets were let pass to the container that had the address before."""
    conf = {"cniVersion": "1.1.0", "name": "net", "type": "podwire-cni", "bridge": "br0"}
    environment = {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "c1",
        "CNI_NETNS": "/run/netns/c1",
        "CNI_IFNAME": "eth0",
        "CNI_PATH": "/opt/cni/bin",
    }
    request = parse_request(environment, json.dumps(conf | {"isGateway": True}).encode())
    addresses = [ip_interface(one) for one in ("10.1.0.2/24", "fd00::2/64")]
    lease = Result(ips=tuple(map(IPConfig, addresses)))
    state = StateBeforeAdd(None, (), False, False, 1500, "boot")
    made = plan_add(request, lease, state).ops
    forgotten = [at for at, op in enumerate(made) if isinstance(op, ops.ForgetNeighbor)]
    assert {made[at].address for at in forgotten} == {one.ip for one in addresses}
    up = next(at for at, op in enumerate(made) if op == ops.SetUp(ops.Side.POD, "eth0", True))
    assert max(forgotten) < up
