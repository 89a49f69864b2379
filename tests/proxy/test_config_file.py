"""KubeProxyConfiguration files: a running cluster's file works; a misspelled field is an error."""

import logging

import pytest
import yaml
from click.testing import CliRunner

from proxy.cli import main
from proxy.config import ListenAddress, from_flags
from proxy.config_file import read
from proxy.model.errors import BadFlagError

HEAD = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
# As kubeadm 1.31 writes it.
KUBEADM = (
    HEAD
    + """bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection:
  acceptContentTypes: ""
  burst: 0
  contentType: ""
  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf
  qps: 0
clusterCIDR: 10.244.0.0/16
configSyncPeriod: 0s
conntrack:
  maxPerCore: null
  min: null
  tcpBeLiberal: false
  tcpCloseWaitTimeout: null
  tcpEstablishedTimeout: null
  udpStreamTimeout: 0s
  udpTimeout: 0s
detectLocal:
  bridgeInterface: ""
  interfaceNamePrefix: ""
detectLocalMode: ""
enableProfiling: false
healthzBindAddress: ""
hostnameOverride: ""
iptables:
  localhostNodePorts: null
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
ipvs:
  excludeCIDRs: null
  scheduler: ""
  strictARP: false
logging:
  flushFrequency: 0
  options:
    json:
      infoBufferSize: "0"
  verbosity: 0
metricsBindAddress: ""
mode: ""
nftables:
  masqueradeAll: false
  masqueradeBit: null
nodePortAddresses: null
oomScoreAdj: null
portRange: ""
showHiddenMetricsForVersion: ""
winkernel:
  enableDSR: false
"""
)


@pytest.fixture
def config(tmp_path):
    def make(text: str, *args: str):
        path = tmp_path / "config.yaml"
        path.write_text(text)
        context = main.make_context("proxy", ["--config", str(path), *args])
        return from_flags(context.params, "host")

    return make


def test_kubeadms_file_is_the_defaults(config):
    made = config(KUBEADM)
    assert made.kubeconfig == "/var/lib/kube-proxy/kubeconfig.conf"
    assert made.mode == "iptables"
    assert [str(pods.network) for pods in made.settings.pods.values()] == ["10.244.0.0/16"]
    assert made.healthz == ListenAddress("0.0.0.0", 10256)  # load balancers ask for it
    assert made.metrics == ListenAddress("127.0.0.1", 10249)
    assert made.settings.localhost_node_ports
    assert made.tracking.max_per_core == 32768
    assert made.node_name == "host"


def test_every_field_of_a_file(config):
    text = HEAD + (
        "mode: nftables\nhostnameOverride: n1\nnodePortAddresses: [192.168.0.0/16, 'fd00::/8']\n"
        "healthzBindAddress: 0.0.0.0:99\nmetricsBindAddress: ''\n"
        "clientConnection: {kubeconfig: /k}\n"
        "detectLocalMode: BridgeInterface\ndetectLocal: {bridgeInterface: br0}\n"
        "iptables: {masqueradeAll: false, localhostNodePorts: false, masqueradeBit: 3}\n"
        "nftables: {masqueradeAll: true, masqueradeBit: 5, minSyncPeriod: 2s}\n"
        "conntrack: {maxPerCore: 0, tcpBeLiberal: true,\n"
        "  udpTimeout: 20s, tcpEstablishedTimeout: 0s}\n"
    )
    made = config(text)
    assert (made.mode, made.node_name, made.min_sync_period) == ("nftables", "n1", 2)
    assert (made.settings.masquerade_all, made.settings.mark_bit) == (True, 5)
    assert not made.settings.localhost_node_ports
    assert [str(one) for one in made.settings.node_port_networks] == ["192.168.0.0/16", "fd00::/8"]
    assert made.healthz == ListenAddress("0.0.0.0", 99)
    assert {pods.interface for pods in made.settings.pods.values()} == {"br0"}
    assert (made.tracking.max_per_core, made.tracking.be_liberal) == (0, True)
    assert made.tracking.timeouts["nf_conntrack_udp_timeout"] == 20
    assert made.tracking.timeouts["nf_conntrack_tcp_timeout_established"] == 0


def test_flags_win(config):
    made = config(KUBEADM, "--proxy-mode", "nftables", "--kubeconfig", "/mine")
    assert (made.mode, made.kubeconfig) == ("nftables", "/mine")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (HEAD + "mood: iptables\n", "mood"),
        (HEAD + "iptables: {masqueradeAl: true}\n", "iptables.masqueradeAl"),
        ("kind: Pod\n", "KubeProxyConfiguration"),
        ("- a\n", "KubeProxyConfiguration"),
        ("a: [", "not YAML"),
    ],
)
def test_files_of_another_kind(tmp_path, text, named):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(BadFlagError, match=named):
        read(path)
    result = CliRunner().invoke(main, ["--config", str(path)])
    assert result.exit_code == 2
    assert named in result.output
    assert "Traceback" not in result.output


def test_a_value_of_the_wrong_kind_is_a_usage_error(tmp_path):
    path = tmp_path / "config.yaml"
    for text in (
        "mode: ipvs",
        "iptables: {masqueradeBit: 99}",
        "conntrack: {udpTimeout: soon}",
        "mode: 5",
        "nodePortAddresses: 10.0.0.0/8",
        "nodePortAddresses: [5]",
        "nodePortAddresses: [{a: b}]",
        "clusterCIDR: [10.0.0.0/8]",
        "conntrack: 5",
        "iptables: {masqueradeAll: 'no'}",
        "iptables: {masqueradeAll: 1}",
        "conntrack: {min: true}",
        "conntrack: {min: '5'}",
        "conntrack: {min: -1}",
        "iptables: {minSyncPeriod: 1}",
        "hostnameOverride: 5",
        "iptables: {snatNodeInternalIP: true}",
        "clientConnection: []",
    ):
        path.write_text(f"{HEAD}clientConnection: {{kubeconfig: /k}}\n{text}\n")
        result = CliRunner().invoke(main, ["--config", str(path)])
        assert (result.exit_code, "Traceback" in result.output) == (2, False)


def test_an_ipv6_address_of_the_node_means_ipv6(config):
    made = config(HEAD + "bindAddress: '::'\nclientConnection: {kubeconfig: /k}\n")
    assert (made.healthz, made.metrics) == (ListenAddress("::", 10256), ListenAddress("::1", 10249))


def test_addresses_get_their_usual_ports(config):
    text = "healthzBindAddress: 192.0.2.1\nmetricsBindAddress: '::1'\n"
    made = config(f"{HEAD}clientConnection: {{kubeconfig: /k}}\n{text}")
    assert (made.healthz, made.metrics) == (
        ListenAddress("192.0.2.1", 10256),
        ListenAddress("::1", 10249),
    )


def test_a_refused_field_may_have_its_default(config):
    text = "iptables: {snatNodeInternalIP: false}\n"
    assert config(f"{HEAD}clientConnection: {{kubeconfig: /k}}\n{text}").mode == "iptables"


# Every field of upstream's v1alpha1 KubeProxyConfiguration, with a value that asks for something.
FIELDS = {
    "featureGates": {"X": True},
    "hostnameOverride": "n1",
    "bindAddress": "0.0.0.0",
    "healthzBindAddress": "0.0.0.0:1",
    "metricsBindAddress": "127.0.0.1:2",
    "bindAddressHardFail": True,
    "enableProfiling": True,
    "showHiddenMetricsForVersion": "1.30",
    "mode": "iptables",
    "detectLocalMode": "ClusterCIDR",
    "clusterCIDR": "10.0.0.0/8",
    "nodePortAddresses": ["primary"],
    "oomScoreAdj": -999,
    "configSyncPeriod": "15m",
    "portRange": "1-2",
    "windowsRunAsService": True,
    "clientConnection": {
        "kubeconfig": "/k",
        "acceptContentTypes": "a",
        "contentType": "b",
        "qps": 5,
        "burst": 10,
    },
    "logging": {
        "format": "json",
        "flushFrequency": 5,
        "verbosity": 2,
        "vmodule": [],
        "options": {"text": {"splitStream": True}, "json": {"infoBufferSize": "1"}},
    },
    "iptables": {
        "masqueradeBit": 1,
        "masqueradeAll": True,
        "localhostNodePorts": False,
        "snatNodeInternalIP": False,
        "syncPeriod": "1m",
        "minSyncPeriod": "1s",
    },
    "ipvs": {
        "syncPeriod": "1m",
        "minSyncPeriod": "1s",
        "scheduler": "rr",
        "excludeCIDRs": ["x"],
        "strictARP": True,
        "tcpTimeout": "1s",
        "tcpFinTimeout": "1s",
        "udpTimeout": "1s",
    },
    "nftables": {
        "masqueradeBit": 1,
        "masqueradeAll": True,
        "syncPeriod": "1m",
        "minSyncPeriod": "1s",
    },
    "winkernel": {
        "networkName": "x",
        "sourceVip": "x",
        "enableDSR": True,
        "rootHnsEndpointName": "x",
        "forwardHealthCheckVip": True,
    },
    "detectLocal": {"bridgeInterface": "br0", "interfaceNamePrefix": "veth"},
    "conntrack": {
        "maxPerCore": 1,
        "min": 1,
        "tcpEstablishedTimeout": "1s",
        "tcpCloseWaitTimeout": "1s",
        "tcpBeLiberal": True,
        "udpTimeout": "1s",
        "udpStreamTimeout": "1s",
    },
}


@pytest.mark.parametrize("mode", ["iptables", "nftables"])
def test_every_upstream_field_has_an_effect_or_is_named(config, caplog, mode):
    """Zero values, which Go writes for all fields, ask for nothing and are not named."""
    with caplog.at_level(logging.WARNING):
        made = config(HEAD + yaml.safe_dump({**FIELDS, "mode": mode}))
    assert made.min_sync_period == 1
    assert made.node_ports_by_node
    other = {"iptables": "nftables", "nftables": "iptables"}[mode]
    for named in (
        "featureGates.X",
        "bindAddressHardFail",
        "oomScoreAdj",
        "logging.format",
        "clientConnection.qps",
        "ipvs.scheduler",
        "winkernel.enableDSR",
        f"{mode}.syncPeriod",
        f"{other}.masqueradeAll",
    ):
        assert f"{named} has no effect here" in caplog.text
    for honoured in ("conntrack.", "hostnameOverride", f"{mode}.masq", "kubeconfig", "detectLocal"):
        assert honoured not in caplog.text


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BadFlagError, match="nowhere"):
        read(tmp_path / "nowhere")


def test_fields_without_effect_are_named(tmp_path, caplog):
    path = tmp_path / "config.yaml"
    path.write_text(f"{HEAD}ipvs: {{strictARP: true}}\nconfigSyncPeriod: 15m\n")
    with caplog.at_level(logging.WARNING):
        assert read(path).keys() == {"healthz_bind_address", "metrics_bind_address"}
    assert "ipvs.strictARP has no effect" in caplog.text
    assert "configSyncPeriod has no effect" in caplog.text
