"""The fields of a lab file. Unknown ones are refused: a typing error must not become a default."""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from lab.spec import MAX_HOLLOW, MAX_NODES

Text = Annotated[str, Field(min_length=1, max_length=4096)]
_MANY = 1000  # of what is no node
SCHEMA = "https://json-schema.org/draft/2020-12/schema"


def _number(value: object) -> object:
    """Return the number that a text is: all plain values of a file come as text."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


class _Model(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=to_camel, validate_by_name=False
    )


class NodeEntry(_Model):
    """A node, or several that differ only in their names."""

    name: Annotated[
        str | None,
        Field(description="1 to 15 letters and digits. Without it: node and the lowest number."),
    ] = None
    count: Annotated[
        int, Field(ge=1, le=MAX_NODES, description="As many such nodes, which have no name here.")
    ] = 1
    number: Annotated[
        int | None,
        Field(ge=1, le=MAX_NODES, description="Decides its address; the lowest free."),
    ] = None
    zone: Annotated[
        str | None, Field(description="Value of the label topology.kubernetes.io/zone.")
    ] = None
    labels: Annotated[dict[str, str], Field(description="Labels of the Node.")] = {}
    taints: Annotated[
        tuple[str, ...], Field(description="KEY[=VALUE]:EFFECT", max_length=_MANY)
    ] = ()


class Network(_Model):
    """The ranges of addresses, and the way between nodes."""

    ip_family: Annotated[
        Literal["ipv4", "ipv6", "dual"],
        Field(description="Of Pods and Services. A range of IPv6 below makes ipv4 dual."),
    ] = "ipv4"
    # Names of Kubernetes, whose capitals the generator does not know.
    pod_cidrs: Annotated[
        tuple[str, ...],
        Field(alias="podCIDRs", max_length=2, description="Ranges of Pods, one a family."),
    ] = ()
    service_cidrs: Annotated[
        tuple[str, ...],
        Field(alias="serviceCIDRs", max_length=2, description="Ranges of ClusterIPs."),
    ] = ()
    overlay: Annotated[
        Literal["routes", "vxlan"], Field(description="How nodes reach each other's Pods.")
    ] = "routes"


class ControlPlane(_Model):
    """The API servers, and where they keep objects."""

    machines: Annotated[
        Literal[1, 3, 5],
        BeforeValidator(_number),
        Field(description="As many API servers, schedulers and members of an etcd."),
    ] = 1
    store: Annotated[
        Literal["sqlite", "etcd"], Field(description="Several machines share an etcd.")
    ] = "sqlite"
    event_ttl: Annotated[
        Text | None,
        Field(alias="eventTTL", description="How long Events are kept, such as 30m; an hour."),
    ] = None


class Proxy(_Model):
    """What balances Services."""

    mode: Literal["iptables", "nftables", "ebpf"] = "iptables"
    counters: Annotated[
        Literal["off", "connections", "packets"], Field(description="For podwire proxy top.")
    ] = "off"


class Dns(_Model):
    """Whom the cluster DNS asks for names outside the cluster."""

    upstreams: Annotated[
        tuple[Text, ...], Field(max_length=_MANY, description="ADDRESS[:PORT] of resolvers.")
    ] = ()
    stub_domains: Annotated[
        tuple[Text, ...],
        Field(max_length=_MANY, description="DOMAIN=ADDRESS[:PORT][,...]"),
    ] = ()


class ImageEntry(_Model):
    """An image that the lab needs."""

    name: Annotated[Text, Field(description="The name by which Pods ask for it.")]
    source: Annotated[
        Text | None,
        Field(
            description="A root folder, OCI layout or docker save archive to import, relative to "
            "this file. Without it, the image must be on this machine."
        ),
    ] = None


class LabFile(_Model):
    """A podwire lab."""

    version: Annotated[Literal[1], BeforeValidator(_number), Field(description="Of this format.")]
    name: Annotated[str | None, Field(description="The lab's name; --name goes before it.")] = None
    nodes: Annotated[
        tuple[NodeEntry, ...],
        Field(min_length=1, max_length=MAX_NODES, description="One entry a node, or a group."),
    ] = (NodeEntry(count=3),)
    hollow: Annotated[
        int,
        BeforeValidator(_number),
        Field(ge=0, le=MAX_HOLLOW, description="Nodes whose containers are only said to run."),
    ] = 0
    runtime: Annotated[
        Literal["builtin", "containerd"], Field(description="What runs the nodes' containers.")
    ] = "builtin"
    control_plane: ControlPlane = ControlPlane()
    network: Network = Network()
    proxy: Proxy = Proxy()
    dns: Dns = Dns()
    images: Annotated[tuple[ImageEntry, ...], Field(max_length=_MANY)] = ()
    manifests: Annotated[
        tuple[Text, ...],
        Field(
            max_length=_MANY,
            description="Files of objects, and folders of such files (.yaml, .yml, .json), applied "
            "when the nodes are ready; relative to this file.",
        ),
    ] = ()
    publish: Annotated[
        tuple[Text, ...],
        Field(max_length=_MANY, description="Ports of this host, as for lab publish: 8080:web:80"),
    ] = ()


def schema() -> dict[str, object]:
    """Return the JSON schema of a lab file, for editors."""
    return {"$schema": SCHEMA, **LabFile.model_json_schema()}
