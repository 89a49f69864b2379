"""The frames mean what they should to somebody else's parser."""

from ipaddress import ip_address

import pytest
from scapy.layers.inet6 import ICMPv6ND_NA, IPv6
from scapy.layers.l2 import ARP, Ether

from cni_plugin.announce import announcement

MAC = "02:00:00:00:00:07"
RAW = bytes.fromhex(MAC.replace(":", ""))


def test_gratuitous_arp():
    frame = Ether(announcement(ip_address("10.0.0.7"), RAW))
    arp = frame[ARP]
    assert (frame.dst, frame.src) == ("ff:ff:ff:ff:ff:ff", MAC)
    assert (arp.psrc, arp.pdst, arp.hwsrc, arp.op) == ("10.0.0.7", "10.0.0.7", MAC, 1)


@pytest.mark.parametrize("address", ["fd00::7", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"])
def test_unsolicited_advertisement(address):
    frame = Ether(announcement(ip_address(address), RAW))
    packet, advert = frame[IPv6], frame[ICMPv6ND_NA]
    assert (frame.dst, packet.dst, packet.hlim) == ("33:33:00:00:00:01", "ff02::1", 255)
    assert (advert.tgt, advert.O, advert.S, advert.R) == (address, 1, 0, 0)
    assert advert.payload.lladdr == MAC
    stated = advert.cksum
    del advert.cksum
    assert IPv6(bytes(packet))[ICMPv6ND_NA].cksum == stated
