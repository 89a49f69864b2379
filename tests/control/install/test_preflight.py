"""Preflight: what it finds on a machine, and what may be ignored."""

from dataclasses import replace
from typing import Any

import pytest

from control.install.layout import InstallError
from control.install.preflight import Facts, Wanted, judge, problems

GOOD = Facts(addresses=frozenset({"192.0.2.1"}))
CONTROL = Wanted(True, ("192.0.2.1",), (6443, 10257))
NODE = Wanted(False, ("192.0.2.1",), (10250,))


@pytest.mark.parametrize("wanted", [CONTROL, NODE])
def test_a_good_machine_has_no_problem(wanted: Wanted):
    assert problems(GOOD, wanted) == []


@pytest.mark.parametrize(
    ("seen", "wanted", "check", "said"),
    [
        ({"root": False}, NODE, "IsPrivilegedUser", "sudo"),
        ({"systemd": False}, NODE, "SystemVerification", "podwire lab"),
        ({"addresses": frozenset({"10.0.2.15"})}, NODE, "NodeIP", "which has 10.0.2.15"),
        ({"ports": ((6443, "kube-apiserver"),)}, CONTROL, "Port-6443", "by kube-apiserver"),
        ({"missing": ("nft",)}, NODE, "FileExisting-nft", "podwire setup"),
        ({"lacking": ("VETH",)}, NODE, "SystemVerification", "no CONFIG_VETH: boot"),
        ({"proxies": ("process 7, kube-proxy",)}, NODE, "OtherProxy", "--cleanup"),
        ({"networks": ("/etc/cni/net.d/05-x.conf",)}, NODE, "OtherNetworkPlugin", "05-x.conf"),
        ({"half": ("/etc/kubernetes/kubelet.conf",)}, NODE, "DirAvailable", "kubeadm reset"),
        ({"free": 5 << 20}, CONTROL, "FileAvailable--var-lib-podwire", "5 MiB free"),
        ({"hidden": "/root"}, CONTROL, "ProgramAccess", "/opt/podwire"),
        ({"runtime": "it does not answer"}, NODE, "CRI", "does not answer"),
        ({"year": 1970}, NODE, "Clock", "1970"),
        (
            {"writable_sysctls": False},
            NODE,
            "FileContent--proc-sys-net-ipv4-ip_forward",
            "cannot be written",
        ),
    ],
)
def test_an_error_names_cause_and_remedy(
    seen: dict[str, Any], wanted: Wanted, check: str, said: str
):
    (found,) = problems(replace(GOOD, **seen), wanted)
    assert (found.check, found.fatal) == (check, True)
    assert said in found.text
    with pytest.raises(InstallError, match=rf"\[ERROR {check}\]"):
        judge([found], ())
    assert judge([found], (check.lower(),)) == (f"[WARNING {check}] {found.text}",)
    assert judge([found], ("all",))


@pytest.mark.parametrize(
    ("seen", "check"),
    [
        ({"swap": ("/dev/sda2",)}, "Swap"),
        ({"unified": False}, "SystemVerification"),
        ({"memory": 1 << 20}, "Mem"),
    ],
)
def test_a_warning_stops_nobody(seen: dict[str, Any], check: str):
    (found,) = problems(replace(GOOD, **seen), NODE)
    assert judge([found], ()) == (f"[WARNING {check}] {found.text}",)


def test_ports_of_our_own_units_are_not_in_use():
    seen = replace(GOOD, ports=((6443, "python"),))
    assert problems(seen, replace(CONTROL, own_ports=frozenset({6443}))) == []


def test_all_errors_are_told_at_once():
    seen = replace(GOOD, root=False, ports=((10250, ""),))
    with pytest.raises(InstallError) as caught:
        judge(problems(seen, NODE), ("Swap",))
    assert str(caught.value).count("[ERROR") == 2
    assert "--ignore-preflight-errors" in str(caught.value)


def test_a_control_plane_may_be_beside_another_network():
    assert problems(replace(GOOD, networks=("x",), proxies=("y",)), CONTROL) == []
