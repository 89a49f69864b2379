"""A trace: what ``-o json`` prints, and what text, packet files and pages are made of.

As swim lanes: a lane for each ``Hop.place``, a box for each step, an arrow between hops.
"""

from msgspec import Struct

VERSION = 1


class Ends(Struct, frozen=True, omit_defaults=True):
    """A flow as it is at one point, with the names of its addresses."""

    protocol: str
    source: str
    destination: str
    source_port: int | None = None
    destination_port: int | None = None
    source_name: str = ""  # "Pod default/web"; "" for a stranger
    destination_name: str = ""


class Step(Struct, frozen=True, omit_defaults=True):
    """One thing that happened to a packet in one namespace.

    ``kind`` is in or out (of a link), rule or policy (of nftables), dropped (by the kernel),
    connection (one was tracked), program (of podwire's eBPF: it entered a translated connection, or
    sent the packet on), or rewrite (by anything else).
    """

    kind: str
    time: float | None = None  # milliseconds since the trace began; only links and drops have it
    link: str = ""
    family: str = ""  # of nftables: inet, ip, ip6, bridge
    table: str = ""
    chain: str = ""
    hook: str = ""  # of the base chain that the packet is in
    handle: int | None = None
    rule: str = ""  # its comment, else what it does; of a rewrite: by what
    named: bool = False  # ``rule`` is a comment, in Kubernetes' names
    verdict: str = ""
    target: str = ""  # of jump and goto
    state: str = ""  # of the connection, where the kernel tells it
    reason: str = ""  # of a drop, the kernel's name
    function: str = ""  # of the kernel, in which it dropped the packet
    tunnel: str = ""  # the outer flow, on a link that carries the packet in a tunnel
    ends: Ends | None = None  # the flow at this point, on links and where it changed
    before: Ends | None = None  # the flow that this step rewrote


class Hop(Struct, frozen=True, omit_defaults=True):
    """A stay in one network namespace."""

    node: str
    place: str  # "Node node1" or "Pod default/web"
    pod: str = ""
    steps: tuple[Step, ...] = ()


class PacketTrace(Struct, frozen=True, omit_defaults=True):
    """The way of one packet: the probe, or one that answers it."""

    probe: int  # the number of the probe, from 1
    direction: str  # forward or reply
    name: str  # such as "TCP SYN"
    outcome: str = ""  # arrived, dropped or unknown
    where: str = ""  # the place where it ended
    why: str = ""
    hops: tuple[Hop, ...] = ()


class Row(Struct, frozen=True, omit_defaults=True):
    """One fact of a prediction, of what was seen, and of what the API's objects want.

    A cell is "" where nothing is said of it: a way has ended, or the objects want no rule.
    """

    predicted: str
    observed: str
    wanted: str = ""
    parts: bool = False  # they are not one here


class Comparison(Struct, frozen=True):
    """A packet's way beside the one that was predicted, and beside what should become of it."""

    direction: str
    probability: float  # of the predicted way
    agrees: bool  # what was predicted, and what was seen
    rows: tuple[Row, ...]
    as_wanted: bool | None = None  # what was seen; None if the API's objects were not read
    parts_at: str = ""  # the first place where the three are not one


class Trace(Struct, frozen=True, omit_defaults=True):
    """All of a command's packets. ``unseen`` says what could not be observed."""

    source: str
    destination: str
    started: str  # RFC 3339
    packets: tuple[PacketTrace, ...] = ()
    unseen: tuple[str, ...] = ()
    comparisons: tuple[Comparison, ...] = ()  # of the first probe and its answer, with --compare
    seconds: float = 0.0  # that the command listened
    version: int = VERSION
