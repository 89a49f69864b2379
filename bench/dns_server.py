"""Serves names of Services on 127.0.0.1:PORT by podwire's DNS server, without an API server.

python -m bench.dns_server PORT NUMBER
"""

import socket
import sys

from control.dns.answer import Answerer
from control.dns.names import parse
from control.dns.records import service_records
from control.dns.udp import Shared, UdpServer
from control.dns.values import Port, ServiceEntry
from control.dns.zone import Zone


def address_of(number: int) -> str:
    """Return the ClusterIP of a numbered Service."""
    return f"10.96.{number // 250}.{number % 250 + 1}"


def main(port: int, number: int) -> None:
    """Serve for ever."""
    zone = Zone(parse("cluster.local"), 5)
    for each in range(number):
        key, ports = ("default", f"svc-{each}"), (Port("http", "TCP", 80),)
        service = ServiceEntry(key, "", "1", (address_of(each),), "", False, ports, unready=False)
        zone.put(key, service_records(service, (), zone.domain))
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", port))
    UdpServer(sock, Answerer(zone), Shared()).serve()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
