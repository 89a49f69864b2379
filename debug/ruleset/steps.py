"""The steps of a rule, as the kernel carries them out: each loads, compares, or decides.

Registers are numbered in words of four bytes, 0 to 15. Names and numbers are those of
linux/netfilter/nf_tables.h.
"""

from msgspec import Struct


class Verdict(Struct, frozen=True, tag="verdict"):
    """accept, drop, jump, goto, return, continue, queue; reject drops with an answer."""

    code: str
    chain: str = ""


class Step(Struct, frozen=True, tag=True):
    """One step; ``loaded`` and ``source`` are registers."""


class Immediate(Step, frozen=True):
    """Load a value, or decide."""

    value: bytes | Verdict
    loaded: int = 0


class Payload(Step, frozen=True):
    """Load bytes of a header: base 0 is the link's, 1 the network's, 2 the transport's."""

    base: int
    offset: int
    length: int
    loaded: int


class PayloadSet(Step, frozen=True):
    """Write a register into a header."""

    base: int
    offset: int
    length: int
    source: int


class Meta(Step, frozen=True):
    """Load what belongs to the packet beside its bytes."""

    key: int
    loaded: int


class MetaSet(Step, frozen=True):
    """Write the packet's mark and the like."""

    key: int
    source: int


class Ct(Step, frozen=True):
    """Load what conntrack knows; direction 0 is the original, 1 the reply, None does not matter."""

    key: int
    loaded: int
    direction: int | None = None


class CtSet(Step, frozen=True):
    """Write the connection's mark and the like."""

    key: int
    source: int


class Fib(Step, frozen=True):
    """Ask for an address's route: ``result`` 1 is the device, 2 its name, 3 the kind of address."""

    flags: int
    result: int
    loaded: int


class Compare(Step, frozen=True):
    """Go on only if a register compares: 0 ==, 1 !=, 2 <, 3 <=, 4 >, 5 >=."""

    source: int
    operator: int
    value: bytes


class Range(Step, frozen=True):
    """Go on only if a register is in a range, or is not (1)."""

    source: int
    operator: int
    first: bytes
    last: bytes


class Bitwise(Step, frozen=True):
    """(register & mask) ^ xor, or shifts: 0, 1 left, 2 right."""

    source: int
    loaded: int
    length: int
    operator: int = 0
    mask: bytes = b""
    xor: bytes = b""
    shift: int = 0


class ByteOrder(Step, frozen=True):
    """Swap the bytes of words between the network's order and this machine's."""

    source: int
    loaded: int
    length: int
    size: int


class Lookup(Step, frozen=True):
    """Search a register's value in a set or map; ``loaded`` is 0 or more if it is a map."""

    store: str
    source: int
    loaded: int | None = None
    inverted: bool = False
    decides: bool = False  # the map holds verdicts


class Update(Step, frozen=True):
    """Add an element to a set, with steps such as a limit of its own."""

    store: str
    source: int
    inner: tuple[str, ...] = ()
    inverted: bool = False


class Draw(Step, frozen=True):
    """Load a number of ``modulus``: at random, or one after the other."""

    loaded: int
    modulus: int
    offset: int = 0
    random: bool = True


class Hash(Step, frozen=True):
    """Load a hash of a register, scaled to ``modulus``; ``seed`` None if the kernel chose it."""

    loaded: int
    modulus: int
    source: int = 0
    length: int = 0
    seed: int | None = None
    offset: int = 0
    symmetric: bool = False


class Nat(Step, frozen=True):
    """Translate the destination or the source; registers are None where nothing is given."""

    destination: bool
    address: int | None = None
    address_last: int | None = None
    port: int | None = None
    port_last: int | None = None
    flags: int = 0
    version: int = 4


class Masquerade(Step, frozen=True):
    """Translate the source to the address of the outgoing device."""

    port: int | None = None
    port_last: int | None = None
    flags: int = 0


class Redirect(Step, frozen=True):
    """Translate the destination to this node."""

    port: int | None = None
    port_last: int | None = None


class Limit(Step, frozen=True):
    """Go on below a rate, or above it."""

    rate: int
    unit: int  # seconds
    burst: int
    inverted: bool = False
    in_bytes: bool = False


class Reject(Step, frozen=True):
    """Drop with an answer: 0 ICMP, 1 TCP reset, 2 ICMP of either version."""

    sort: int
    code: int = 0


class Quiet(Step, frozen=True):
    """A step that does not decide: a counter, a log, a helper."""

    name: str
    text: str = ""


class TcpOption(Step, frozen=True):
    """Write an option of TCP, as its largest segment; other packets do not go on."""


class Untrack(Step, frozen=True):
    """Keep conntrack from the packet."""


class XtMatch(Step, frozen=True):
    """A match of iptables, in its own binary form."""

    name: str
    revision: int
    data: bytes


class XtTarget(Step, frozen=True):
    """A target of iptables, in its own binary form."""

    name: str
    revision: int
    data: bytes


class Unloadable(Step, frozen=True):
    """A step that loads what this module cannot know; it matters only if the value is used."""

    name: str
    loaded: int
    length: int = 16


class Strange(Step, frozen=True):
    """A step that is not known here."""

    name: str


AnyStep = (
    Immediate
    | Payload
    | PayloadSet
    | Meta
    | MetaSet
    | Ct
    | CtSet
    | Fib
    | Compare
    | Range
    | Bitwise
    | ByteOrder
    | Lookup
    | Update
    | Draw
    | Hash
    | Nat
    | Masquerade
    | Redirect
    | Limit
    | Reject
    | Quiet
    | TcpOption
    | Untrack
    | XtMatch
    | XtTarget
    | Unloadable
    | Strange
)
