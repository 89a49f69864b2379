"""KubeProxyConfiguration files: a running cluster's is taken as it is, a misspelt one is not."""

import logging

import pytest
from click.testing import CliRunner

from proxy.cli import main
from proxy.config import Listen, from_flags
from proxy.errors import BadFlag
from proxy.file import read

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
    assert made.healthz == Listen("127.0.0.1", 10256)
    assert made.settings.localhost_node_ports
    assert made.tracking.max_per_core == 32768
    assert made.node_name == "host"


def test_everything_that_a_file_can_say(config):
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
    assert made.healthz == Listen("0.0.0.0", 99)
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
def test_what_is_not_such_a_file(tmp_path, text, named):
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(BadFlag, match=named):
        read(path)
    result = CliRunner().invoke(main, ["--config", str(path)])
    assert result.exit_code == 2
    assert named in result.output
    assert "Traceback" not in result.output


def test_a_value_of_the_wrong_kind_is_a_usage_error(tmp_path):
    path = tmp_path / "config.yaml"
    for text in ("mode: ipvs", "iptables: {masqueradeBit: 99}", "conntrack: {udpTimeout: soon}"):
        path.write_text(f"{HEAD}clientConnection: {{kubeconfig: /k}}\n{text}\n")
        result = CliRunner().invoke(main, ["--config", str(path)])
        assert (result.exit_code, "Traceback" in result.output) == (2, False)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BadFlag, match="nowhere"):
        read(tmp_path / "nowhere")


def test_wishes_that_change_nothing_are_named(tmp_path, caplog):
    path = tmp_path / "config.yaml"
    path.write_text(f"{HEAD}ipvs: {{strictARP: true}}\nconfigSyncPeriod: 15m\n")
    with caplog.at_level(logging.WARNING):
        assert read(path) == {}
    assert "ipvs.strictARP has no effect" in caplog.text
    assert "configSyncPeriod has no effect" in caplog.text
