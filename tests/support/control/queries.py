"""Queries to a DNS server on loopback."""

from itertools import count

import dns.asyncquery
import dns.message

HOST = "127.0.0.1"
PORTS = count(20_000)  # below those that the kernel gives to clients


async def ask(port: int, name: str, *, tcp: bool = False) -> dns.message.Message:
    """Return the response to one question; raises OSError, or dnspython's Timeout."""
    query = dns.message.make_query(name, "A", use_edns=True)
    via = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
    return await via(query, HOST, port=port, timeout=60)
