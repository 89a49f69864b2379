"""The packet-fate table: what becomes of a packet, for every backend and for the evaluator.

It is written from upstream's documented behavior (KEP-1669, KEP-1860, KEP-2086, KEP-2433,
KEP-4444, "Virtual IPs and Service Proxies"), not from our code. A line is a Service, seen from the
node that has the pods A and B; C is on another node. Then come five sources:

    pod      a pod of this node that is no endpoint        remote   a pod of another node
    self     the pod A                                     outside  a client beyond the cluster
    node     a process of this node

and the fate of each: the endpoints that may answer, each with * when it sees the node's address
instead of the client's; or reject, drop, or - for a packet that is no Service's business.
Endpoints are ready; ~ marks one that terminates but still serves, ! one that no longer serves, and
? one that is not ready. @z1 and %n1 are its hints; this node is n1 in zone z1. =2 is the weight
that the Service's annotation gives it, which is not upstream's but our own (docs/proxy/design.md).
cluster-other is another port of the ClusterIP, cluster-nobody an address of the Service ranges
that no Service has. at-node and at-bridge make an address of this node itself one of the
externalIPs.
"""

from dataclasses import dataclass
from functools import cache

SOURCES = ("pod", "self", "node", "remote", "outside")

_TABLE = """
== default
# policies         endpoints      destination      pod      self     node     remote   outside
-                  A B C          cluster          ABC      A*BC     A*B*C*   ABC      A*B*C*
-                  A              cluster          A        A*       A*       A        A*
-                  C              cluster          C        C        C*       C        C*
-                  none           cluster          reject   reject   reject   reject   reject
-                  A? B? C?       cluster          reject   reject   reject   reject   reject
-                  A! B! C!       cluster          reject   reject   reject   reject   reject
-                  A~ B? C!       cluster          A        A*       A*       A        A*
-                  A~ B C~        cluster          B        B        B*       B        B*
-                  A~ B~ C~       cluster          ABC      A*BC     A*B*C*   ABC      A*B*C*
-                  A B C          cluster-other    reject   reject   reject   reject   reject
-                  none           cluster-other    reject   reject   reject   reject   reject
internal           C              cluster-other    reject   reject   reject   reject   reject
-                  A B C          cluster-nobody   drop     drop     drop     drop     drop
internal           A B C          cluster          AB       A*B      A*B*     AB       A*B*
internal           C              cluster          drop     drop     drop     drop     drop
internal           none           cluster          reject   reject   reject   reject   reject
internal           A? C           cluster          drop     drop     drop     drop     drop
internal           A~ C           cluster          A        A*       A*       A        A*
internal           A~ B C         cluster          B        B        B*       B        B*
internal           A! B? C~       cluster          drop     drop     drop     drop     drop
-                  A@z1 B@z1 C@z2 cluster          AB       A*B      A*B*     AB       A*B*
-                  A@z2 B@z2 C@z1 cluster          C        C        C*       C        C*
-                  A@z1 B C@z2    cluster          ABC      A*BC     A*B*C*   ABC      A*B*C*
-                  A@z2 B@z2 C@z2 cluster          ABC      A*BC     A*B*C*   ABC      A*B*C*
-                  A@z1? B@z2 C@z2 cluster         BC       BC       B*C*     BC       B*C*
-                  A%n1 B%n1 C%n2 cluster          AB       A*B      A*B*     AB       A*B*
-                  A%n2 B%n2 C%n2 cluster          ABC      A*BC     A*B*C*   ABC      A*B*C*
-                  A%n1@z1 B%n2@z1 C%n2@z2 cluster A        A*       A*       A        A*
-                  A%n2@z1 B%n2@z1 C%n2@z2 cluster AB       A*B      A*B*     AB       A*B*
-                  A~@z1 B~@z2 C~@z2 cluster       ABC      A*BC     A*B*C*   ABC      A*B*C*
internal           A@z2 B@z2 C@z1 cluster          AB       A*B      A*B*     AB       A*B*
-                  A B C          nodeport         A*B*C*   A*B*C*   A*B*C*   A*B*C*   A*B*C*
-                  A              nodeport         A*       A*       A*       A*       A*
-                  none           nodeport         reject   reject   reject   reject   reject
-                  A~ B?          nodeport         A*       A*       A*       A*       A*
-                  A@z1 B@z1 C@z2 nodeport         A*B*     A*B*     A*B*     A*B*     A*B*
-                  A B C          nodeport-bridge  A*B*C*   A*B*C*   A*B*C*   A*B*C*   A*B*C*
-                  A B C          nodeport-cluster reject   reject   reject   reject   reject
external           A B C          nodeport         ABC      A*BC     A*B*C*   ABC      AB
external           C              nodeport         C        C        C*       C        drop
external           none           nodeport         reject   reject   reject   reject   reject
external           A~ C           nodeport         C        C        C*       C        A
external           A~ B C         nodeport         BC       BC       B*C*     BC       B
external           A~ B~ C~       nodeport         ABC      A*BC     A*B*C*   ABC      AB
external           A? C           nodeport         C        C        C*       C        drop
external           A! B! C~       nodeport         C        C        C*       C        drop
external           A@z2 C@z1      nodeport         C        C        C*       C        A
external           A B C          cluster          ABC      A*BC     A*B*C*   ABC      A*B*C*
internal           A B C          nodeport         A*B*C*   A*B*C*   A*B*C*   A*B*C*   A*B*C*
internal           C              nodeport         C*       C*       C*       C*       C*
internal,external  A B C          nodeport         ABC      A*BC     A*B*C*   ABC      AB
internal,external  C              nodeport         C        C        C*       C        drop
internal,external  C              cluster          drop     drop     drop     drop     drop
-                  A B C          external         A*B*C*   A*B*C*   A*B*C*   A*B*C*   A*B*C*
-                  none           external         reject   reject   reject   reject   reject
-                  A B C          external-other   -        -        -        -        -
external           A B C          external         ABC      A*BC     A*B*C*   ABC      AB
external           C              external         C        C        C*       C        drop
external           none           external         reject   reject   reject   reject   reject
external           A~ C           external         C        C        C*       C        A
at-node            A B C          external-node    A*B*C*   A*B*C*   A*B*C*   A*B*C*   A*B*C*
at-bridge,external A B C          external-bridge  ABC      A*BC     .        ABC      AB
-                  A B C          balancer         A*B*C*   A*B*C*   A*B*C*   A*B*C*   A*B*C*
-                  none           balancer         reject   reject   reject   reject   reject
external           A B C          balancer         ABC      A*BC     A*B*C*   ABC      AB
external           C              balancer         C        C        C*       C        drop
external           none           balancer         reject   reject   reject   reject   reject
external           A~ B~ C        balancer         C        C        C*       C        AB
from-outside       A B C          balancer         drop     drop     drop     drop     A*B*C*
from-outside       none           balancer         reject   reject   reject   reject   reject
from-nowhere       none           balancer         reject   reject   reject   reject   reject
from-outside       A! B? C!       balancer         reject   reject   reject   reject   reject
from-outside,external none        balancer         reject   reject   reject   reject   reject
from-outside       A B C          cluster          ABC      A*BC     A*B*C*   ABC      A*B*C*
from-outside       A B C          nodeport         A*B*C*   A*B*C*   A*B*C*   A*B*C*   A*B*C*
from-pods          A B C          balancer         A*B*C*   A*B*C*   drop     A*B*C*   drop
from-node          A B C          balancer         drop     drop     A*B*C*   drop     drop
from-nowhere       A B C          balancer         drop     drop     drop     drop     drop
from-outside,external A B C       balancer         drop     drop     drop     drop     AB
from-outside,external C           balancer         drop     drop     drop     drop     drop
from-pods,external A B C          balancer         ABC      A*BC     drop     ABC      drop
-                  A=3 B C=2      cluster          ABC      A*BC     A*B*C*   ABC      A*B*C*
-                  A=0 B C        cluster          BC       BC       B*C*     BC       B*C*
-                  A=0            cluster          A        A*       A*       A        A*
-                  A=0 B=0 C?     cluster          AB       A*B      A*B*     AB       A*B*
-                  A=0 B~ C?      cluster          A        A*       A*       A        A*
-                  A~=0 B~ C!     cluster          B        B        B*       B        B*
-                  A@z1=0 B@z2 C@z2 cluster        BC       BC       B*C*     BC       B*C*
-                  A@z1=4 B@z1 C@z2 cluster        AB       A*B      A*B*     AB       A*B*
internal           A=0 B C        cluster          B        B        B*       B        B*
internal           A=0 C          cluster          A        A*       A*       A        A*
-                  A=9 B=0 C=3    nodeport         A*C*     A*C*     A*C*     A*C*     A*C*
external           A=0 B=2 C=5    nodeport         BC       BC       B*C*     BC       B
external           A=0 C          balancer         C        C        C*       C        A

== masquerade-all
-                  A B C          cluster          A*B*C*   A*B*C*   A*B*C*   A*B*C*   A*B*C*
internal           A B C          cluster          A*B*     A*B*     A*B*     A*B*     A*B*
external           A B C          nodeport         ABC      A*BC     A*B*C*   ABC      AB
-                  none           cluster          reject   reject   reject   reject   reject

== no-detection
-                  A B C          cluster          ABC      A*BC     ABC      ABC      ABC
-                  A B C          nodeport         A*B*C*   A*B*C*   A*B*C*   A*B*C*   A*B*C*
external           A B C          nodeport         AB       A*B      A*B*C*   AB       AB
external           C              nodeport         drop     drop     C*       drop     drop
external           none           nodeport         reject   reject   reject   reject   reject

== by-bridge
-                  A B C          cluster          ABC      A*BC     A*B*C*   A*B*C*   A*B*C*
external           A B C          nodeport         ABC      A*BC     A*B*C*   AB       AB
external           C              nodeport         C        C        C*       drop     drop

== by-prefix
-                  A B C          cluster          ABC      A*BC     A*B*C*   A*B*C*   A*B*C*
external           C              balancer         C        C        C*       drop     drop

== lan-nodeports
-                  A B C          nodeport         A*B*C*   A*B*C*   A*B*C*   A*B*C*   A*B*C*
-                  A B C          nodeport-bridge  -        -        -        -        -
external           C              nodeport         C        C        C*       C        drop
external           C              nodeport-bridge  -        -        -        -        -
-                  none           nodeport         reject   reject   reject   reject   reject
"""

# What differs between the families: IPv6 has no route from ::1, so only IPv4 has loopback ports.
_LOOPBACK = """
== default
-                  A B C          nodeport-loopback .       .        {served} .       .
-                  none           nodeport-loopback .       .        {refused} .       .
external           A B C          nodeport-loopback .       .        {served} .       .
external           C              nodeport-loopback .       .        {remote} .       .

== no-localhost
-                  A B C          nodeport-loopback .       .        -        .       .
-                  A B C          nodeport         A*B*C*   A*B*C*   A*B*C*   A*B*C*   A*B*C*

== lan-nodeports
-                  A B C          nodeport-loopback .       .        -        .       .
"""


@dataclass(frozen=True)
class Row:
    """One line of the table. ``fates`` lacks sources that cannot send to the destination."""

    settings: str
    policies: frozenset[str]
    endpoints: tuple[str, ...]
    destination: str
    fates: dict[str, str]

    @property
    def id(self) -> str:
        """The line, for a test's name."""
        policies = ",".join(sorted(self.policies)) or "-"
        return f"{self.settings} {policies} {' '.join(self.endpoints) or 'none'} {self.destination}"


@cache
def rows(version: int) -> tuple[Row, ...]:
    """Return the table of one family."""
    words = {"served": "A*B*C*", "refused": "reject", "remote": "C*"}
    if version == 6:
        words = dict.fromkeys(words, "-")
    return tuple(_parse(_TABLE + _LOOPBACK.format(**words)))


def _parse(text: str) -> list[Row]:
    found, settings = [], ""
    for line in text.splitlines():
        words = line.split()
        if line.startswith("=="):
            settings = words[1]
        elif words and not line.startswith("#"):
            found.append(_row(settings, words))
    return found


def _row(settings: str, words: list[str]) -> Row:
    policies, *endpoints, destination, pod, own, node, remote, outside = words
    fates = zip(SOURCES, (pod, own, node, remote, outside), strict=True)
    return Row(
        settings,
        frozenset(policies.split(",")) - {"-"},
        () if endpoints == ["none"] else tuple(endpoints),
        destination,
        {source: fate for source, fate in fates if fate != "."},
    )


def targets(fate: str) -> dict[str, bool]:
    """Return the endpoints of a fate such as ``A*BC``; True for each that sees a masqueraded
    client.
    """
    letters = [letter for letter in fate if letter in "ABC"]
    return {one: fate[fate.index(one) + 1 : fate.index(one) + 2] == "*" for one in letters}
