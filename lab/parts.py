"""What runs on a lab's machines: a table of parts for each kind of machine.

To add a part to every lab, write a function that returns its Component, and put it into a table.
"""

from collections.abc import Callable

from lab.spec import (
    CLOUD_METRICS_PORT,
    CLUSTER_DOMAIN,
    CLUSTER_FD,
    CONFIG,
    CONTAINERD,
    CONTAINERD_SOCKET,
    CONTROL_HOST,
    CONTROL_NAMES,
    CONTROLLERS_METRICS_PORT,
    DATA,
    DNS_FDS,
    DNS_METRICS_PORT,
    DNS_SERVERS,
    ETCD,
    ETCD_PEER_PORT,
    ETCD_PORT,
    HOLLOW,
    HOLLOW_HOST,
    IMAGES_PORT,
    LOADED_IMAGES,
    MANAGEMENT_FD,
    NODE_MASKS,
    POD_PIDS,
    SCHEDULER_METRICS_PORT,
    SPEAKER_METRICS_PORT,
    UPLINK,
    ZONE,
    Component,
    LabSpec,
    Machine,
    address_of,
    addresses_of,
    authority,
    cgroup,
    control_host,
    dns_ips,
)

# Takes the lab, and the machine without its components; None: this lab does not have the part.
Part = Callable[[LabSpec, Machine], Component | None]


def machines(spec: LabSpec) -> tuple[Machine, ...]:
    """Return the control planes' machines, then the nodes."""
    return (*control_machines(spec), *node_machines(spec))


def control_machines(spec: LabSpec) -> tuple[Machine, ...]:
    """Return the control planes' machines."""
    return tuple(_machine(spec, name, control_host(name), CONTROL) for name in spec.controls)


def node_machines(spec: LabSpec) -> tuple[Machine, ...]:
    """Return the nodes."""
    return tuple(_machine(spec, node.name, CONTROL_HOST + node.number, NODE) for node in spec.nodes)


def hollow_machines(spec: LabSpec) -> tuple[Machine, ...]:
    """Return the machines that hollow nodes claim to have."""
    return tuple(
        Machine(name, addresses_of(spec, HOLLOW_HOST + number), ())
        for number, name in enumerate(spec.hollow_names, 1)
    )


def _machine(spec: LabSpec, name: str, host: int, parts: tuple[Part, ...]) -> Machine:
    bare = Machine(name, addresses_of(spec, host), ())
    made = (part(spec, bare) for part in parts)
    return Machine(name, bare.addresses, tuple(each for each in made if each is not None))


def _apiserver(spec: LabSpec, machine: Machine) -> Component:
    return Component(
        "apiserver",
        (
            "apiserver",
            f"--store={store_url(spec, machine.name)}",
            *(() if spec.is_balanced else (f"--listen-fd={MANAGEMENT_FD}",)),
            f"--listen-fd={CLUSTER_FD}",
            f"--tls-cert={CONFIG / 'apiserver.crt'}",
            f"--tls-key={CONFIG / 'apiserver.key'}",
            f"--client-ca={CONFIG / 'ca.crt'}",
            "--authorization-mode=Node,RBAC",
            f"--service-account-signing-key-file={CONFIG / 'sa.key'}",
            f"--kubelet-client-cert={CONFIG / 'kubelet-client.crt'}",
            f"--kubelet-client-key={CONFIG / 'kubelet-client.key'}",
            f"--proxy-client-cert-file={CONFIG / 'front-proxy-client.crt'}",
            f"--proxy-client-key-file={CONFIG / 'front-proxy-client.key'}",
            f"--requestheader-client-ca-file={CONFIG / 'front-proxy-ca.crt'}",
            "--requestheader-allowed-names=front-proxy-client",
            f"--service-cidr={','.join(spec.service_cidrs)}",
            f"--advertise-address={machine.ips[0]}",
            *((f"--event-ttl={spec.event_ttl}",) if spec.event_ttl else ()),
        ),
    )


def store_url(spec: LabSpec, machine: str) -> str:
    """Return the API server's option; one etcd is asked where nobody else can ask it."""
    if spec.store != ETCD:
        return f"sqlite:{DATA / 'store.db'}"
    if not spec.is_balanced:
        return f"etcd:http://127.0.0.1:{ETCD_PORT}"
    names = [machine, *(name for name in spec.controls if name != machine)]  # the own one first
    urls = (f"https://{_member(spec, name, ETCD_PORT)}" for name in names)
    files = {"cacert": "etcd-ca.crt", "cert": "etcd-client.crt", "key": "etcd-client.key"}
    options = (f"{name}={CONFIG / file}" for name, file in files.items())
    return f"etcd:{','.join(urls)}?{'&'.join(options)}"


def _member(spec: LabSpec, name: str, port: int) -> str:
    return authority(address_of(spec, control_host(name)), port)


def etcd(spec: LabSpec, machine: Machine) -> Component | None:
    """Return a control plane's member of etcd."""
    if spec.store != ETCD:
        return None
    options = {
        "name": machine.name,
        "data-dir": DATA / "etcd",
        **(_shared(spec, machine.name) if spec.is_balanced else _alone(machine.name)),
        "max-txn-ops": 1024,  # a Service of many ports takes a key for each
        "logger": "zap",
        "log-level": "warn",
    }
    words = (f"--{name}={value}" for name, value in options.items())
    return Component(ETCD, ("etcd", *words), is_program=True)


def _alone(name: str) -> dict[str, object]:
    """Return the options of an etcd on loopback."""
    clients, peers = (f"http://127.0.0.1:{port}" for port in (ETCD_PORT, ETCD_PEER_PORT))
    return _urls(clients, clients, peers) | {"initial-cluster": f"{name}={peers}"}


def _shared(spec: LabSpec, machine: str) -> dict[str, object]:
    """Return the options of a member of a cluster, with TLS between all that speak."""
    clients, peers = (
        f"https://{_member(spec, machine, port)}" for port in (ETCD_PORT, ETCD_PEER_PORT)
    )
    cluster = (f"{name}=https://{_member(spec, name, ETCD_PEER_PORT)}" for name in spec.controls)
    options: dict[str, object] = {"initial-cluster": ",".join(cluster)}
    for peer in ("", "peer-"):
        options |= {
            f"{peer}cert-file": CONFIG / "etcd.crt",
            f"{peer}key-file": CONFIG / "etcd.key",
            f"{peer}trusted-ca-file": CONFIG / "etcd-ca.crt",
            f"{peer}client-cert-auth": "true",
        }
    return _urls(clients, clients, peers) | options


def _urls(listen: str, clients: str, peers: str) -> dict[str, object]:
    return {
        "listen-client-urls": listen,
        "advertise-client-urls": clients,
        "listen-peer-urls": peers,
        "initial-advertise-peer-urls": peers,
    }


def _scheduler(_: LabSpec, __: Machine) -> Component:
    return Component(
        "scheduler",
        (
            "scheduler",
            _kubeconfig("scheduler"),
            f"--metrics-bind-address=127.0.0.1:{SCHEDULER_METRICS_PORT}",
        ),
    )


def _controllers(spec: LabSpec, _: Machine) -> Component:
    return Component(
        "controllers",
        (
            "controllers",
            _kubeconfig("controllers"),
            f"--metrics-bind-address=127.0.0.1:{CONTROLLERS_METRICS_PORT}",
            f"--root-ca-file={CONFIG / 'ca.crt'}",
            "--use-service-account-credentials",
            f"--service-account-private-key-file={CONFIG / 'sa.key'}",
            f"--cluster-signing-cert-file={CONFIG / 'ca.crt'}",
            f"--cluster-signing-key-file={CONFIG / 'ca.key'}",
            _cluster_cidr(spec),
            f"--node-cidr-mask-size={NODE_MASKS[4]}",
            f"--node-cidr-mask-size-ipv6={NODE_MASKS[6]}",
        ),
    )


def _dns(number: int) -> Part:
    """Return one of the DNS servers, ``dns`` or ``dns-2``; each has its own ports for pages."""

    def part(spec: LabSpec, _: Machine) -> Component:
        descriptors = DNS_FDS[: 2 * len(spec.service_cidrs)]
        return Component(
            f"dns-{number + 1}" if number else "dns",
            (
                "dns",
                f"--metrics-bind-address=:{DNS_METRICS_PORT + number}",
                f"--health-bind-address=:{8080 + number}",
                f"--ready-bind-address=:{8181 + number}",
                _kubeconfig("dns"),
                f"--cluster-domain={CLUSTER_DOMAIN}",
                *(f"--listen-fd={descriptor}" for descriptor in descriptors),
                *(f"--upstream={each}" for each in spec.dns_upstreams),
                *(f"--stub-domain={each}" for each in spec.stub_domains),
            ),
        )

    return part


def _cni(_: LabSpec, __: Machine) -> Component:
    return Component("cni", ("cni", "serve"))


def _containerd(spec: LabSpec, _: Machine) -> Component | None:
    if spec.runtime != CONTAINERD:
        return None
    return Component(
        CONTAINERD, ("containerd", "--config", str(CONFIG / "containerd.toml")), is_program=True
    )


def _images(spec: LabSpec, _: Machine) -> Component | None:
    """Return what gives the images of this machine to containerd."""
    if spec.runtime != CONTAINERD:
        return None
    return Component(
        "images",
        (
            "image",
            "serve",
            f"--listen=127.0.0.1:{IMAGES_PORT}",
            f"--image-dir={LOADED_IMAGES}",
            f"--additional-image-dir={DATA / 'images'}",
            f"--pull-into={CONTAINERD_SOCKET}",
            "--pull=podwire/tools",
        ),
    )


def _runtime(spec: LabSpec) -> tuple[str, ...]:
    """Return the agent's flags that name its runtime."""
    if spec.runtime == CONTAINERD:
        # A lab's images are loaded by hand, and the disk is the machine's.
        keep = "--image-gc-high-threshold=100"
        return (f"--container-runtime-endpoint={CONTAINERD_SOCKET}", keep)
    return (f"--image-dir={LOADED_IMAGES}", f"--additional-image-dir={DATA / 'images'}")


def _agent(spec: LabSpec, machine: Machine) -> Component:
    node = spec.node(machine.name)
    return Component(
        "agent",
        (
            "agent",
            _kubeconfig("agent"),
            # A node reads only its own Node; the proxy's user reads all.
            f"--network-kubeconfig={CONFIG / 'proxy.kubeconfig'}",
            f"--volume-kubeconfig={CONFIG / 'volumes.kubeconfig'}",
            f"--node-name={machine.name}",
            f"--node-ip={','.join(machine.ips)}",
            f"--node-labels={','.join(f'{k}={v}' for k, v in node.labels if k != ZONE)}",
            "--cloud-provider=external",  # it gives the zone, too
            f"--register-with-taints={','.join(node.taints)}",
            *_runtime(spec),
            f"--overlay={spec.overlay}",
            _cluster_cidr(spec),
            f"--cluster-dns={','.join(dns_ips(spec))}",
            f"--cluster-domain={CLUSTER_DOMAIN}",
            f"--tls-cert={CONFIG / 'agent.crt'}",
            f"--tls-key={CONFIG / 'agent.key'}",
            f"--client-ca={CONFIG / 'ca.crt'}",
            f"--cgroup-root={cgroup(spec.name, machine.name)}",
            f"--pod-max-pids={POD_PIDS}",
            "--eviction-hard=memory.available<100Mi",  # the disk is the machine's, and may be full
            "--seccomp-default",
        ),
    )


def _proxy(spec: LabSpec, machine: Machine) -> Component:
    return Component(
        "proxy",
        (
            "proxy",
            _kubeconfig("proxy"),
            f"--node-name={machine.name}",
            f"--proxy-mode={spec.proxy}",
            f"--service-counters={spec.counters}",
            f"--cgroup-root={cgroup(spec.name, machine.name)}",
            _cluster_cidr(spec),
            f"--service-cidr={','.join(spec.service_cidrs)}",
        ),
    )


def _cloud(spec: LabSpec, _: Machine) -> Component:
    return Component(
        "cloud",
        (
            "cloud",
            _kubeconfig("cloud"),
            "--cloud-provider=lab",
            f"--cloud-config={CONFIG / 'cloud.yaml'}",
            f"--machines={CONFIG}",
            "--node-monitor-period=1",
            f"--metrics-bind-address=127.0.0.1:{CLOUD_METRICS_PORT}",
            f"--cluster-name={spec.name}",
            "--allocate-node-cidrs",
            _cluster_cidr(spec),
            "--concurrent-service-syncs=8",
            "--concurrent-node-syncs=8",
            "--use-service-account-credentials",
        ),
    )


def _hollow(spec: LabSpec, machine: Machine) -> Component | None:
    """Return the hollow nodes' process."""
    if not spec.hollow or machine.name != CONTROL_NAMES[0]:
        return None
    return Component(
        "hollow",
        (
            "hollow",
            f"--kubeconfig-dir={CONFIG / HOLLOW}",
            f"--first-node-ip={','.join(hollow_machines(spec)[0].ips)}",
            f"--root-dir={DATA / HOLLOW}",
        ),
    )


def _speaker(_: LabSpec, machine: Machine) -> Component:
    user = _kubeconfig("speaker")
    name = f"--node-name={machine.name}"
    pages = f"--metrics-bind-address=127.0.0.1:{SPEAKER_METRICS_PORT}"
    return Component("speaker", ("speaker", user, name, f"--interface={UPLINK}", pages))


def _kubeconfig(part: str) -> str:
    return f"--kubeconfig={CONFIG / f'{part}.kubeconfig'}"


def _cluster_cidr(spec: LabSpec) -> str:
    return f"--cluster-cidr={','.join(spec.pod_cidrs)}"


# The parts of the control plane's machine, and those of each node, in the order of their start.
CONTROL: tuple[Part, ...] = (
    etcd,
    _apiserver,
    _scheduler,
    _controllers,
    _cloud,
    *map(_dns, range(DNS_SERVERS)),
    _hollow,
)
NODE: tuple[Part, ...] = (_containerd, _images, _cni, _agent, _proxy, _speaker)
