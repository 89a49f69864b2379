"""The units of a control plane, and those of a node. Pure.

The parts of a control plane need no root: each has a dynamic user, no capabilities, and copies of
just the files that it reads (LoadCredential=). Its sockets are systemd's, so that a restart refuses
no connection. The parts of a node change the kernel's network: they are root, and the agent
must share the machine's mounts. Source: systemd.exec(5)
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from control.install import etcd_unit
from control.install.layout import Layout, Program
from control.install.settings import ControlPlaneSettings, NodeSettings, bracketed
from control.install.unitfile import (
    WANTED,
    Service,
    Unit,
    environment,
    file_flags,
    home,
    quoted,
    rendered,
    socket,
    text,
    timer,
)

CONTROL_PLANE = (
    *("podwire-etcd", "podwire-apiserver"),
    *("podwire-scheduler", "podwire-controllers", "podwire-dns", "podwire-certs"),
)
NODE = ("podwire-balancer", "podwire-cni", "podwire-pods", "podwire-agent", "podwire-proxy")
# Ends every container when it stops, so only with the machine, or before all is removed.
PODS = "podwire-pods.service"
DNS_PORT = 53
BALANCER_PORT = 6444  # on a node's loopback; that of the API may be taken there
BALANCER_URL = f"https://127.0.0.1:{BALANCER_PORT}"
DNS_METRICS_PORT = 9153
DNS_HEALTH_PORT, DNS_READY_PORT = 8080, 8181  # CoreDNS's; on loopback

_CONFINED = (
    "NoNewPrivileges=yes",
    "CapabilityBoundingSet=",
    "ProtectSystem=strict",
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "ProtectProc=invisible",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "LockPersonality=yes",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "UMask=0077",
)
_HARDENED = (*_CONFINED, "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6")
# The proxy writes rules, sysctls and eBPF maps; systemd has mounted /sys/fs/bpf before.
_PROXY = (
    "NoNewPrivileges=yes",
    "ProtectSystem=full",
    "PrivateTmp=yes",
    "ProtectClock=yes",
    "ProtectKernelLogs=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "LockPersonality=yes",
)
# Who renews certificates writes files, and asks systemd to restart who reads them.
_RENEWING = (*_CONFINED, "PrivateNetwork=yes", "RestrictAddressFamilies=AF_UNIX")
_GRACE = 10  # seconds that containers have when the machine goes down
# Containers outlive the agent; what it needs of the host's mounts, it sees and makes there.
_AGENT = ("KillMode=process", "Delegate=yes", "OOMScoreAdjust=-900", "LimitNOFILE=1048576")


def control_plane(
    layout: Layout, program: Program, settings: ControlPlaneSettings
) -> tuple[Unit, ...]:
    """Return the units of a control plane, in the order of their start."""
    etcd = [etcd_unit.service(layout, settings, _confined("etcd"))] if settings.has_etcd else []
    services = (
        _apiserver(layout, settings),
        _scheduler(layout),
        _controllers(layout, settings),
        _dns(layout, settings),
    )
    port = settings.api.port
    dns = [f"{bracketed(address)}:{DNS_PORT}" for address in settings.node.ips]
    return (
        *(rendered(each, program) for each in etcd),
        socket("apiserver", (f"ListenStream={_any(settings.node.ips)}:{port}",)),
        socket(
            "dns", [f"{word}={at}" for at in dns for word in ("ListenDatagram", "ListenStream")]
        ),
        *(rendered(each, program) for each in services),
        *_certs(layout, program),
    )


def node(layout: Layout, program: Program, settings: NodeSettings) -> tuple[Unit, ...]:
    """Return the units of a node, in the order of their start."""
    cni, *rest = (_cni(), _agent(layout, settings), _proxy(layout, settings))
    pods = _pods(layout, program, settings)
    parts = (rendered(cni, program), pods, *(rendered(each, program) for each in rest))
    return (*_balancer(layout, program, settings), *parts)


def until_api(every: Sequence[Unit]) -> int:
    """Return the number of a control plane's units up to that of the API server."""
    return [unit.name for unit in every].index("podwire-apiserver.service") + 1


def is_service(unit: Unit) -> bool:
    """Return True for a unit that runs for as long as the machine."""
    return unit.name.endswith(".service") and not unit.triggered


def _apiserver(layout: Layout, settings: ControlPlaneSettings) -> Service:
    state = layout.state / "apiserver"
    argv = (
        "apiserver",
        etcd_unit.store_flag() if settings.has_etcd else f"--store=sqlite:{state / 'store.db'}",
        "--listen-fd=3",
        *file_flags(
            ("tls-cert", "apiserver.crt"),
            ("tls-key", "apiserver.key"),
            ("client-ca", "ca.crt"),
            ("service-account-signing-key-file", "sa.key"),
            ("kubelet-client-cert", "kubelet-client.crt"),
            ("kubelet-client-key", "kubelet-client.key"),
            ("proxy-client-cert-file", "front-proxy-client.crt"),
            ("proxy-client-key-file", "front-proxy-client.key"),
            ("requestheader-client-ca-file", "front-proxy-ca.crt"),
        ),
        "--requestheader-allowed-names=front-proxy-client",
        "--authorization-mode=Node,RBAC",
        "--enable-bootstrap-token-auth",
        f"--service-cidr={settings.services}",
        f"--event-ttl={settings.api.eventTTL}",
        f"--advertise-address={settings.node.ips[0]}",
    )
    own = ("StateDirectory=podwire/apiserver", "StateDirectoryMode=0700", "LimitNOFILE=65536")
    return Service(
        "apiserver",
        "the Kubernetes API",
        argv,
        (*_confined("apiserver"), *own),
        after=("podwire-etcd.service",) if settings.has_etcd else (),
        requires=("podwire-apiserver.socket",),
        credentials=tuple(layout.pki / name for name in _files_of_apiserver(settings)),
    )


def _files_of_apiserver(settings: ControlPlaneSettings) -> tuple[str, ...]:
    return (
        *("apiserver.crt", "apiserver.key", "ca.crt", "sa.key"),
        *("kubelet-client.crt", "kubelet-client.key"),
        *("front-proxy-client.crt", "front-proxy-client.key", "front-proxy-ca.crt"),
        *(etcd_unit.CLIENT_FILES if settings.has_etcd else ()),
    )


def _scheduler(layout: Layout) -> Service:
    argv = ("scheduler", _own_kubeconfig("scheduler"), "--metrics-bind-address=127.0.0.1:10259")
    return _control("scheduler", "gives Pods their nodes", argv, [layout.kubeconfig("scheduler")])


def _controllers(layout: Layout, settings: ControlPlaneSettings) -> Service:
    argv = (
        "controllers",
        _own_kubeconfig("controllers"),
        "--metrics-bind-address=127.0.0.1:10257",
        "--use-service-account-credentials",
        *file_flags(
            ("root-ca-file", "ca.crt"),
            ("service-account-private-key-file", "sa.key"),
            ("cluster-signing-cert-file", "ca.crt"),
            ("cluster-signing-key-file", "ca.key"),
        ),
        f"--cluster-cidr={settings.pods}",
        f"--service-cluster-ip-range={settings.services}",
    )
    files = [layout.pki / name for name in ("ca.crt", "ca.key", "sa.key")]
    files.append(layout.kubeconfig("controllers"))
    return _control("controllers", "reconcile Deployments, nodes and the rest", argv, files)


def _dns(layout: Layout, settings: ControlPlaneSettings) -> Service:
    ip = bracketed(settings.node.ips[0])
    sockets = 2 * len(settings.node.ips)
    argv = (
        "dns",
        _own_kubeconfig("dns"),
        f"--cluster-domain={settings.dns.domain}",
        *(f"--listen-fd={3 + number}" for number in range(sockets)),
        f"--metrics-bind-address={ip}:{DNS_METRICS_PORT}",
        f"--health-bind-address=127.0.0.1:{DNS_HEALTH_PORT}",
        f"--ready-bind-address=127.0.0.1:{DNS_READY_PORT}",
        *(f"--upstream={each}" for each in settings.dns.upstreams),
        *(f"--stub-domain={each}" for each in settings.dns.stubDomains),
    )
    made = _control("dns", "the cluster DNS", argv, [layout.kubeconfig("dns")])
    return replace(made, requires=("podwire-dns.socket",))


def _certs(layout: Layout, program: Program) -> tuple[Unit, Unit]:
    paths = f"ReadWritePaths={quoted(str(layout.config))} {quoted(str(layout.state))}"
    settings = (*environment(program), *_RENEWING, paths, home(program))
    return timer(
        "certs",
        "renews the control plane's certificates before they end",
        program.argv("certs", "renew"),
        settings,
    )


def _control(part: str, title: str, argv: tuple[str, ...], files: Sequence[Path]) -> Service:
    """Return a client of the API that runs beside it."""
    return Service(
        *(part, title, argv, _confined(part)),
        after=("podwire-apiserver.service",),
        wants=("podwire-apiserver.service",),
        credentials=tuple(files),
    )


def _confined(part: str) -> tuple[str, ...]:
    return ("DynamicUser=yes", f"User=podwire-{part}", *_HARDENED)


def _balancer(layout: Layout, program: Program, settings: NodeSettings) -> tuple[Unit, ...]:
    """Return the way to any of several API servers: its socket, and who answers there."""
    if not settings.cluster.balancer:
        return ()
    argv = (
        *("balancer", "--listen-fd=3", f"--kubeconfig={layout.agent}"),
        f"--certificate-authority={layout.pki / 'ca.crt'}",
        f"--known={layout.state / 'balancer/servers'}",
        *(f"--server={each}" for each in settings.servers),
    )
    # The agent's key is root's, and is renewed: no copy of it would do.
    own = ("StateDirectory=podwire/balancer", "StateDirectoryMode=0700", "LimitNOFILE=65536")
    made = Service(
        *("balancer", "leads to any of the API servers", argv, (*_HARDENED, *own)),
        requires=("podwire-balancer.socket",),
    )
    listen = (f"ListenStream=127.0.0.1:{BALANCER_PORT}",)
    return socket("balancer", listen), rendered(made, program)


def _cni() -> Service:
    settings = ("NoNewPrivileges=yes", "ProtectClock=yes", "LockPersonality=yes")
    return Service("cni", "the CNI plugin's server", ("cni", "serve"), settings)


def _agent(layout: Layout, settings: NodeSettings) -> Service:
    cluster, machine = settings.cluster, settings.node
    argv = (
        "agent",
        f"--kubeconfig={layout.agent}",
        f"--node-name={machine.name}",
        f"--node-ip={','.join(machine.ips)}",
        *([f"--node-labels={settings.labels}"] if settings.labels else []),
        *([f"--register-with-taints={settings.taints}"] if settings.taints else []),
        *([f"--container-runtime-endpoint={settings.runtime}"] if settings.runtime else []),
        f"--overlay={cluster.network.overlay}",
        f"--cluster-cidr={cluster.pods}",
        f"--cluster-dns={','.join(cluster.dns_ips)}",
        f"--cluster-domain={cluster.dns.domain}",
        f"--client-ca={layout.pki / 'ca.crt'}",
        f"--cert-dir={layout.node_pki}",
        "--rotate-certificates",
        "--rotate-server-certificates",
        "--cgroup-root=podwire",
    )
    before = ("ExecStartPre=-modprobe -a overlay br_netfilter",)
    return Service(
        *("agent", "runs the Pods of this node", argv, (*before, *_AGENT)),
        after=("podwire-cni.service", *_runtimes(settings)),
        wants=("podwire-cni.service",),
    )


def _pods(layout: Layout, program: Program, settings: NodeSettings) -> Unit:
    """Return the unit that stops containers with the machine, after the agent and before the rest.

    It starts nothing. A restart of the agent leaves it alone.
    """
    argv = (
        *("agent", f"--stop-containers={_GRACE}", f"--root-dir={layout.state / 'agent'}"),
        f"--node-name={settings.node.name}",
        *([f"--container-runtime-endpoint={settings.runtime}"] if settings.runtime else []),
        "--cgroup-root=podwire",
    )
    after = " ".join(("podwire-cni.service", *_runtimes(settings)))
    unit = (
        *("[Unit]", "Description=podwire pods: ends containers with the machine"),
        *(f"After={after}", "Before=podwire-agent.service"),
    )
    service = (
        *("[Service]", "Type=oneshot", "RemainAfterExit=yes", *environment(program)),
        f"ExecStop={' '.join(map(quoted, program.argv(*argv)))}",
        "TimeoutStopSec=60",
    )
    return Unit(PODS, text(unit, service, WANTED))


def _runtimes(settings: NodeSettings) -> tuple[str, ...]:
    return ("containerd.service", "crio.service") if settings.runtime else ()


def _proxy(layout: Layout, settings: NodeSettings) -> Service:
    cluster = settings.cluster
    argv = (
        "proxy",
        f"--kubeconfig={layout.agent}",
        f"--node-name={settings.node.name}",
        f"--proxy-mode={cluster.proxy.mode}",
        f"--cluster-cidr={cluster.pods}",
        f"--service-cidr={cluster.services}",
    )
    return Service("proxy", "balances Services on this node", argv, _PROXY)


def _own_kubeconfig(part: str) -> str:
    return f"--kubeconfig=${{CREDENTIALS_DIRECTORY}}/{part}.kubeconfig"


def _any(ips: Sequence[str]) -> str:
    """Return the address of all interfaces; that of IPv6 takes IPv4 too."""
    return "[::]" if any(":" in ip for ip in ips) else "0.0.0.0"  # noqa: S104  # TLS, and certificates
