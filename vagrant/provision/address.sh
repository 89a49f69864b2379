#!/bin/bash
# Give the link with a MAC its address, where the provider does not: address.sh ADDRESS PREFIX MAC
# Only for vagrant-qemu; the others do it themselves.
set -euo pipefail
address=$1 prefix=$2
mac=$(sed 's/../&:/g; s/:$//' <<<"$3")
mkdir -p /etc/systemd/network
printf '[Match]\nMACAddress=%s\n[Network]\nAddress=%s/%s\n' "$mac" "$address" "$prefix" > /etc/systemd/network/10-podwire-lab.network
systemctl enable --quiet systemd-networkd
systemctl restart systemd-networkd
