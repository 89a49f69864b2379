"""Settings and certificates in /etc/podwire: checked, kept, made anew when they are of no use."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from control.install import cli, control_plane, credentials, token_cli
from control.install.layout import InstallError, Layout
from control.install.settings import ControlPlaneSettings, check, merged, read, write

NOW = datetime.now(UTC)


def settings(**over: Any) -> ControlPlaneSettings:
    data = merged({"node": {"name": "cp", "ips": ["192.0.2.1"]}}, over)
    return check(ControlPlaneSettings, data, "test")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path)


def test_a_second_run_keeps_every_certificate(layout: Layout):
    first = credentials.write(layout, settings(), NOW)
    assert {"ca", "apiserver", "sa.key", "admin.kubeconfig"} <= set(first)
    assert credentials.write(layout, settings(), NOW) == ()
    secrets = [*layout.pki.glob("*.key"), *layout.config.glob("*.kubeconfig")]
    assert {path.stat().st_mode & 0o777 for path in secrets} == {0o600}


def test_only_what_lacks_something_is_made_anew(layout: Layout):
    credentials.write(layout, settings(), NOW)
    named = settings(api={"certSANs": ["api.example.org"]})
    assert credentials.write(layout, named, NOW) == ("apiserver",)
    moved = set(credentials.write(layout, settings(api={"endpoint": "lb.example.org"}), NOW))
    assert moved == {"apiserver"} | {
        f"{part}.kubeconfig" for part in ("admin", "scheduler", "controllers", "dns")
    }
    (layout.pki / "kubelet-client.key").unlink()
    other = (layout.pki / "apiserver.key").read_text()
    (layout.pki / "front-proxy-client.key").write_text(other)  # a run ended between the two files
    assert credentials.write(layout, settings(api={"endpoint": "lb.example.org"}), NOW) == (
        "kubelet-client",
        "front-proxy-client",
    )


def test_a_certificate_begins_when_it_was_asked_for(layout: Layout):
    """Not when it was written: a run that took an hour would make them all anew."""
    before = NOW - timedelta(days=1)
    credentials.write(layout, settings(), before)
    assert credentials.write(layout, settings(), before) == ()


def test_certificates_of_a_time_that_has_not_come_are_made_anew(layout: Layout):
    """The clock was ahead when they were made, and was then set right."""
    credentials.write(layout, settings(), NOW)
    made = set(credentials.write(layout, settings(), NOW - timedelta(days=30)))
    assert {"apiserver", "kubelet-client", "admin.kubeconfig"} <= made


def test_certificates_that_end_soon_are_renewed_but_the_authority_stays(layout: Layout):
    credentials.write(layout, settings(), NOW)
    before = (layout.pki / "ca.crt").read_bytes()
    renewed = credentials.write(layout, settings(), NOW + timedelta(days=300))
    assert {"apiserver", "kubelet-client", "front-proxy-client"} <= set(renewed)
    assert (layout.pki / "ca.crt").read_bytes() == before


def test_an_authority_without_its_key_is_not_replaced(layout: Layout):
    credentials.write(layout, settings(), NOW)
    (layout.pki / "ca.key").unlink()
    with pytest.raises(InstallError, match="has no key beside it"):
        credentials.write(layout, settings(), NOW)


def test_an_authority_whose_making_was_cut_short_is_made_of_its_key(layout: Layout):
    credentials.write(layout, settings(), NOW)
    before = credentials.authority_hash((layout.pki / "ca.crt").read_bytes())
    (layout.pki / "ca.crt").unlink()  # the key is written first
    assert credentials.write(layout, settings(), NOW) == ("ca",), "the others are still good"
    assert credentials.authority_hash((layout.pki / "ca.crt").read_bytes()) == before
    (layout.pki / "ca.crt").unlink()
    (layout.pki / "ca.key").write_text("")
    with pytest.raises(InstallError, match=r"ca\.key: .*: remove it"):
        credentials.write(layout, settings(), NOW)


def test_settings_are_read_as_they_were_written(layout: Layout):
    made = settings(proxy={"mode": "ebpf"}, dns={"upstreams": ["192.0.2.53"]})
    write(layout.cluster_file, made)
    assert control_plane.load(layout) == made
    shared = made.shared()
    assert (shared.proxy.mode, shared.dns_ips) == ("ebpf", ("10.96.0.10",))


def test_ranges_of_a_cluster_do_not_change(layout: Layout):
    write(layout.cluster_file, settings())
    control_plane.refuse_changes(layout, settings(proxy={"mode": "nftables"}))
    with pytest.raises(InstallError, match=r"podCIDRs is 10\.244\.0\.0/16 .* podwire reset first"):
        control_plane.refuse_changes(layout, settings(network={"podCIDRs": ["10.1.0.0/16"]}))


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ({"node": {"ips": ["127.0.0.1"]}}, "node.ips.0: Value error, 127.0.0.1 is no address by"),
        ({"node": {"ips": []}}, "node.ips"),
        ({"node": {"name": "a b"}}, "is no name of a host"),
        ({"network": {"podCIDRs": ["10.96.0.0/17"]}}, "overlaps"),
        ({"network": {"podCIDRs": ["10.1.0.0/16", "10.2.0.0/16"]}}, "want one range"),
        ({"network": {"podCIDRs": ["fd00::/56"]}}, "same families"),
        ({"network": {"serviceCIDRs": ["10.96.0.0/30"]}}, "no room for the DNS"),
        ({"network": {"overlays": "vxlan"}}, "network.overlays: Extra inputs"),
        ({"proxy": {"mode": "ipvs"}}, "proxy.mode"),
        ({"node": {"ips": ["192.0.2.1", "192.0.2.2"]}}, "one of each family"),
        ({"api": {"certSANs": ["köln.example"]}}, "api.certSANs.0: Value error, 'köln.example'"),
        ({"api": {"endpoint": "a b"}}, "api.endpoint: Value error, 'a b' is no name"),
        ({"api": {"endpoint": "lb.example:99999"}}, "want a port"),
        ({"dns": {"upstreams": ["resolver.example"]}}, "dns: Value error, resolver.example"),
        ({"dns": {"stubDomains": ["corp.example"]}}, "write it as corp.example=10.0.0.53"),
    ],
)
def test_wrong_settings_are_named(over: dict[str, Any], said: str):
    with pytest.raises(InstallError) as caught:
        settings(**over)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("", "https://192.0.2.1:6443"),
        ("LB.example", "https://lb.example:6443"),
        ("lb.example:443", "https://lb.example:443"),
        ("2001:db8::1", "https://[2001:db8::1]:6443"),
        ("[2001:db8:0::1]:443", "https://[2001:db8::1]:443"),
    ],
)
def test_an_endpoint_has_a_port_and_brackets(given: str, url: str):
    assert settings(api={"endpoint": given}).url == url


@pytest.mark.parametrize("text", ["- a\n", "a: [", "x" * 70_000])
def test_a_file_that_is_none_of_settings(tmp_path: Path, text: str):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(InstallError, match=r"config\.yaml"):
        read(path)


def test_flags_win_over_the_file_and_the_file_over_the_last_run(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(cli, "_LAYOUT", layout)
    write(layout.cluster_file, settings(proxy={"mode": "ebpf"}, network={"overlay": "vxlan"}))
    given = tmp_path / "given.yaml"
    given.write_text(yaml.safe_dump({"proxy": {"mode": "nftables"}, "dns": {"domain": "a.b"}}))
    names = (
        *("node_ip", "node_name", "pod_cidr", "service_cidr", "service_dns_domain", "overlay"),
        *("control_plane_endpoint", "apiserver_bind_port", "apiserver_cert_extra_sans"),
        "event_ttl",
    )
    flags = dict.fromkeys(names, "") | {"config": given, "dns_upstream": (), "proxy_mode": None}
    made = cli._settings(flags | {"service_dns_domain": "c.d"})
    assert (made.proxy.mode, made.dns.domain, made.network.overlay) == ("nftables", "c.d", "vxlan")


def kubeconfig_without_authority() -> str:
    return yaml.safe_dump(
        {
            "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c"}}],
            "current-context": "c",
        }
    )


@pytest.mark.parametrize(
    ("command", "args", "said"),
    [
        (cli.install, ["control-plane"], "--node-ip is missing"),
        (cli.join, ["192.0.2.1:6443"], "--token is missing"),
        (cli.install, ["node", "192.0.2.1:6443"], "--token is missing"),
        (cli.join, ["192.0.2.1:6443", "--token=a.b"], "ca-cert-hash is missing"),
        (token_cli.token, ["create", "--ttl=1y"], "is no time"),
        (token_cli.token, ["create", f"--ttl={'9' * 5000}h"], "is no time"),
        (token_cli.token, ["create", "--ttl=999999999h"], "longer than 100 years"),
        (token_cli.token, ["create", "--kubeconfig=KUBECONFIG"], "has no authority"),
        (token_cli.token, ["delete", "x"], "a token has 6 and 16"),
    ],
)
def test_a_wrong_command_line_is_one_line(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, command: Any, args: list[str], said: str
):
    monkeypatch.setattr(cli, "_LAYOUT", layout)
    path = layout.root / "kubeconfig"
    path.write_text(kubeconfig_without_authority())
    args = [word.replace("KUBECONFIG", str(path)) for word in args]
    result = CliRunner().invoke(command, args)
    text = str(result.exception) if result.exception else result.output
    assert result.exit_code == 1
    assert said in (result.output + text)
    assert text.count("\n") == 0
