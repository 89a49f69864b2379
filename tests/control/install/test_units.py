"""The text of systemd's units: what runs as whom, with what, and in which order."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from control.install import control_plane, systemd, units
from control.install.layout import InstallError, Layout, Program
from control.install.settings import ControlPlaneSettings, NodeSettings, check
from control.install.unitfile import Unit

PROGRAM = Program("/opt/podwire/venv/bin/python", (("PYTHONDONTWRITEBYTECODE", "1"),))


def settings(**over: object) -> ControlPlaneSettings:
    data = {"node": {"name": "cp", "ips": ["192.0.2.1"]}} | over
    return check(ControlPlaneSettings, data, "test")


def node_settings(runtime: str = "") -> NodeSettings:
    data = {
        "node": {"name": "n1", "ips": ["192.0.2.2"]},
        "server": "https://192.0.2.1:6443",
        "runtime": runtime,
        "cluster": {"proxy": {"mode": "nftables"}, "network": {"overlay": "vxlan"}},
    }
    return check(NodeSettings, data, "test")


def rendered(*every: Unit) -> dict[str, list[str]]:
    return {unit.name: unit.text.splitlines() for unit in every}


@pytest.fixture
def control() -> dict[str, list[str]]:
    return rendered(*units.control_plane(Layout(), PROGRAM, settings()))


@pytest.fixture
def node() -> dict[str, list[str]]:
    return rendered(*units.node(Layout(), PROGRAM, node_settings()))


def test_sockets_come_first_and_the_server_before_its_clients(control: dict[str, list[str]]):
    assert list(control) == [
        "podwire-apiserver.socket",
        "podwire-dns.socket",
        "podwire-apiserver.service",
        "podwire-scheduler.service",
        "podwire-controllers.service",
        "podwire-dns.service",
        "podwire-certs.timer",
        "podwire-certs.service",
    ]
    for part in ("scheduler", "controllers", "dns"):
        (after,) = [line for line in control[f"podwire-{part}.service"] if line[:6] == "After="]
        assert "podwire-apiserver.service" in after.split()


@pytest.mark.parametrize("part", ["apiserver", "scheduler", "controllers", "dns"])
def test_the_control_plane_has_no_root_and_no_capability(control: dict[str, list[str]], part: str):
    lines = control[f"podwire-{part}.service"]
    wanted = {"DynamicUser=yes", f"User=podwire-{part}", "NoNewPrivileges=yes", "Restart=always"}
    assert wanted | {"CapabilityBoundingSet=", "ProtectSystem=strict"} <= set(lines)


def test_who_renews_certificates_is_confined_and_has_no_network(control: dict[str, list[str]]):
    lines = control["podwire-certs.service"]
    wanted = {"CapabilityBoundingSet=", "ProtectSystem=strict", "PrivateDevices=yes"}
    assert wanted | {"PrivateNetwork=yes"} <= set(lines)
    families = [line for line in lines if line.startswith("RestrictAddressFamilies=")]
    assert families == ["RestrictAddressFamilies=AF_UNIX"], "of several, systemd allows all"


def test_only_who_signs_has_the_key_of_the_authority(control: dict[str, list[str]]):
    with_key = [name for name, lines in control.items() if any("ca.key:" in one for one in lines)]
    assert with_key == ["podwire-controllers.service"]


def test_each_file_that_a_part_names_is_among_its_credentials(control: dict[str, list[str]]):
    for name, lines in control.items():
        (start,) = [line for line in lines if line.startswith("ExecStart=")] or [""]
        named = {word.rpartition("/")[2] for word in start.split() if "CREDENTIALS" in word}
        given = {
            line.split("=")[1].split(":")[0] for line in lines if line[:14] == "LoadCredential"
        }
        assert named == given, name


def test_a_restart_refuses_no_connection(control: dict[str, list[str]]):
    assert "ListenStream=0.0.0.0:6443" in control["podwire-apiserver.socket"]
    assert "Requires=podwire-apiserver.socket" in control["podwire-apiserver.service"]
    assert "--listen-fd=3" in " ".join(control["podwire-apiserver.service"])
    assert "--event-ttl=1h0m0s" in " ".join(control["podwire-apiserver.service"])
    dns = control["podwire-dns.socket"]
    assert [line for line in dns if line.startswith("Listen")] == [
        "ListenDatagram=192.0.2.1:53",
        "ListenStream=192.0.2.1:53",
    ]


def test_preflight_looks_at_each_port_on_which_a_part_listens(control: dict[str, list[str]]):
    """But for that of DNS, which systemd binds at the node's addresses: its failure is told."""
    text = " ".join(line for lines in control.values() for line in lines)
    bound = {int(port) for port in re.findall(r"-bind-address=\S+:(\d+)", text)}
    wanted = set(control_plane.wanted_of(settings()).ports)
    assert bound and wanted == bound | {6443}


def test_two_families_listen_on_both():
    both = settings(
        node={"name": "cp", "ips": ["192.0.2.1", "2001:db8::1"]},
        network={
            "podCIDRs": ["10.244.0.0/16", "fd00:1::/56"],
            "serviceCIDRs": ["10.96.0.0/16", "fd00:2::/112"],
        },
    )
    found = rendered(*units.control_plane(Layout(), PROGRAM, both))
    assert "ListenStream=[::]:6443" in found["podwire-apiserver.socket"]
    assert "ListenDatagram=[2001:db8::1]:53" in found["podwire-dns.socket"]
    assert "--listen-fd=6" in " ".join(found["podwire-dns.service"])


def test_a_node_restarts_without_its_pods(node: dict[str, list[str]]):
    parts = ("cni", "pods", "agent", "proxy")
    assert list(node) == [f"podwire-{part}.service" for part in parts]
    agent = node["podwire-agent.service"]
    assert "KillMode=process" in agent
    # The agent's mounts are the machine's: nothing may put it into a mount namespace of its own.
    alone = ("PrivateTmp", "ProtectSystem", "PrivateDevices", "ProtectKernel", "ProtectControl")
    assert not [line for line in agent if line.startswith(alone)]
    start = next(line for line in agent if line.startswith("ExecStart="))
    for flag in ("--overlay=vxlan", "--cluster-dns=10.96.0.10", "--rotate-certificates"):
        assert flag in start.split()
    assert "--proxy-mode=nftables" in " ".join(node["podwire-proxy.service"])


def test_a_runtime_is_started_before_the_agent():
    made = units.node(Layout(), PROGRAM, node_settings("unix:///run/containerd/containerd.sock"))
    agent = rendered(*made)["podwire-agent.service"]
    assert "containerd.service" in next(line for line in agent if line.startswith("After="))
    assert "--container-runtime-endpoint=unix:///run/containerd/containerd.sock" in " ".join(agent)


def test_containers_end_with_the_machine_between_the_agent_and_the_runtime():
    made = units.node(Layout(), PROGRAM, node_settings("unix:///run/containerd/containerd.sock"))
    pods = rendered(*made)[units.PODS]
    assert "containerd.service" in next(line for line in pods if line.startswith("After="))
    assert "Before=podwire-agent.service" in pods
    assert not [line for line in pods if line.startswith("ExecStart=")]
    assert "--stop-containers=10" in next(line for line in pods if line.startswith("ExecStop="))


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The calls of systemctl, which are not made."""
    calls: list[tuple[str, ...]] = []
    monkeypatch.setattr(systemd, "systemctl", lambda *words: calls.append(words))
    return calls


def restarted(done: list[tuple[str, ...]]) -> list[str]:
    return [words[1] for words in done if words[0] == "restart"]


def test_a_unit_of_pods_is_never_restarted(done: list[tuple[str, ...]], tmp_path: Path):
    made = units.node(Layout(), PROGRAM, node_settings())
    systemd.write_units(Layout(tmp_path), made)
    systemd.start(Layout(tmp_path), made)
    for unit in made:
        systemd.restart(Layout(tmp_path), unit)
    verbs = {words[0] for words in done if words[-1] == units.PODS and words[0] != "enable"}
    assert verbs == {"start"}


def test_a_run_that_was_cut_short_leaves_its_restarts_to_the_next(
    done: list[tuple[str, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    layout = Layout(tmp_path)
    made = units.node(layout, PROGRAM, node_settings())
    systemd.write_units(layout, made)
    systemd.start(layout, made)
    done.clear()
    other = units.node(layout, replace(PROGRAM, python="/opt/other/bin/python"), node_settings())
    systemd.write_units(layout, other)

    def refuse(*words: str) -> None:
        if words[-1] == "podwire-agent.service":
            raise InstallError("it does not start")
        done.append(words)

    with monkeypatch.context() as broken:
        broken.setattr(systemd, "systemctl", refuse)
        with pytest.raises(InstallError, match="does not start"):
            systemd.start(layout, other)
    assert restarted(done) == ["podwire-cni.service"]
    done.clear()
    for _ in range(2):
        systemd.write_units(layout, other)
        systemd.start(layout, other)
    assert restarted(done) == ["podwire-agent.service", "podwire-proxy.service"]


def test_a_socket_is_bound_anew_without_its_service(done: list[tuple[str, ...]], tmp_path: Path):
    layout = Layout(tmp_path)
    for port in (6443, 7443):
        made = units.control_plane(layout, PROGRAM, settings(api={"port": port}))
        systemd.write_units(layout, made)
        done.clear()
        systemd.start(layout, made[:3])
    at = [words for words in done if words[0] != "enable"]
    assert at[:2] == [
        ("stop", "podwire-apiserver.socket", "podwire-apiserver.service"),
        ("restart", "podwire-apiserver.socket"),
    ]
    assert ("start", "podwire-dns.socket") in at


def test_only_its_timer_starts_the_renewal_of_certificates(
    done: list[tuple[str, ...]], control: dict[str, list[str]], tmp_path: Path
):
    layout = Layout(tmp_path)
    made = units.control_plane(layout, PROGRAM, settings())
    systemd.write_units(layout, made)
    systemd.start(layout, made)
    assert [words[0] for words in done if "podwire-certs.timer" in words] == ["enable", "restart"]
    assert not [words for words in done if "podwire-certs.service" in words]
    assert not systemd.due(layout), "it is not due for ever"
    assert "Persistent=yes" in control["podwire-certs.timer"], "also after days without power"
    service = control["podwire-certs.service"]
    assert "[Install]" not in service and "Restart=always" not in service
    assert any(line.endswith(" certs renew") for line in service)


@pytest.mark.parametrize(
    ("python", "home"),
    [("/opt/venv/bin/python", "yes"), ("/home/me/.venv/bin/python", "read-only")],
)
def test_homes_are_hidden_but_for_the_program(python: str, home: str):
    program = replace(PROGRAM, python=python)
    made = rendered(*units.control_plane(Layout(), program, settings()))
    assert f"ProtectHome={home}" in made["podwire-dns.service"]


def test_text_of_users_is_no_syntax_of_systemd():
    odd = settings(dns={"upstreams": ['/a"b $HOME %h;x']})
    made = rendered(*units.control_plane(Layout(Path("/")), PROGRAM, odd))
    line = next(one for one in made["podwire-dns.service"] if one.startswith("ExecStart="))
    assert line.endswith('"--upstream=/a\\"b $$HOME %%h;x"')


def credentials_of(lines: list[str]) -> set[str]:
    return {line.split("=")[1].split(":")[0] for line in lines if line[:14] == "LoadCredential"}


def test_etcd_begins_before_the_server_that_asks_it_alone():
    control = rendered(*units.control_plane(Layout(), PROGRAM, settings(store="etcd")))
    assert next(iter(control)) == "podwire-etcd.service"
    etcd, server = (control[f"podwire-{part}.service"] for part in ("etcd", "apiserver"))
    start = next(line for line in etcd if line.startswith("ExecStart="))
    assert start.startswith("ExecStart=/usr/bin/etcd --name=cp ")
    for flag in (
        "--initial-cluster=cp=https://192.0.2.1:2380",
        "--initial-cluster-state=new",
        "--peer-client-cert-auth=true",
        "--client-cert-auth=true",
    ):
        assert flag in start.split()
    assert credentials_of(etcd) == {"etcd.crt", "etcd.key", "etcd-ca.crt"}
    assert "DynamicUser=yes" in etcd
    assert {"etcd-ca.crt", "etcd-client.crt", "etcd-client.key"} <= credentials_of(server)
    assert "--store=etcd:https://127.0.0.1:2379?cacert=" in " ".join(server)
    assert "podwire-etcd.service" in next(line for line in server if line.startswith("After="))


def test_a_member_that_joined_begins_with_the_others():
    members = "a=https://192.0.2.9:2380,cp=https://192.0.2.1:2380"
    made = settings(store="etcd", etcd={"initialCluster": members})
    text = " ".join(rendered(*units.control_plane(Layout(), PROGRAM, made))["podwire-etcd.service"])
    assert f"--initial-cluster={members} --initial-cluster-state=existing" in text


def test_preflight_asks_for_etcd_and_its_ports():
    wanted = control_plane.wanted_of(settings(store="etcd"))
    assert {2379, 2380} <= set(wanted.ports)
    assert wanted.programs == ("etcd",)


def test_a_node_of_several_control_planes_has_a_balancer_of_its_own():
    several = settings(store="etcd").shared()
    assert several.balancer
    assert not settings(store="etcd", api={"endpoint": "api.example:6443"}).shared().balancer
    data = node_settings().model_dump() | {"cluster": several, "servers": ["192.0.2.1:6443"]}
    made = units.node(Layout(), PROGRAM, check(NodeSettings, data, "test"))
    found = rendered(*made)
    assert list(found)[:2] == ["podwire-balancer.socket", "podwire-balancer.service"]
    assert "ListenStream=127.0.0.1:6444" in found["podwire-balancer.socket"]
    assert "--server=192.0.2.1:6443" in " ".join(found["podwire-balancer.service"])
