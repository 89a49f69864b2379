"""Queries to a DNS server on loopback."""

import socket

import dns.asyncquery
import dns.message

HOST = "127.0.0.1"


def free_port() -> int:
    """Return a TCP port that nobody has now."""
    with socket.create_server((HOST, 0)) as found:
        return found.getsockname()[1]


async def ask(port: int, name: str, *, tcp: bool = False) -> dns.message.Message:
    """Return the response to one question; raises OSError, or dnspython's Timeout."""
    query = dns.message.make_query(name, "A", use_edns=True)
    via = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
    return await via(query, HOST, port=port, timeout=60)
