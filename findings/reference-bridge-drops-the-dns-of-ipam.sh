#!/usr/bin/env bash
# The reference bridge plugin of Debian 12 drops the DNS servers that its IPAM plugin answers; ptp keeps them.
#
# One would guess: "dns" of an IPAM plugin's result arrives in the result of the plugin that called it, unless
#   the network's configuration has a "dns" of its own.
# What it does: bridge writes its configuration's "dns" over the IPAM's, an empty one too. ptp of the same
#   package answers the IPAM's.
# So: with bridge, write "dns" into the network's configuration; a resolvConf of host-local has no effect.
# Seen with: containernetworking-plugins 1.1.1+ds1-3+b5, Linux 6.18, November 2026.
source "$(dirname "$0")/common.bash"
debian containernetworking-plugins=1.1.1+ds1-3+b5
export CNI_PATH=$work/debian/usr/lib/cni

seen <<'SCRIPT'
export CNI_COMMAND=ADD CNI_IFNAME=eth0
echo "nameserver 192.0.2.53" > resolv.conf
for type in bridge ptp; do
  ip netns add "$type"
  echo "$type: $(CNI_CONTAINERID=$type CNI_NETNS=/run/netns/$type "$CNI_PATH/$type" <<CONF | python3 -c '
import json, sys
print(json.load(sys.stdin)["dns"])'
    {"cniVersion": "1.0.0", "name": "$type", "type": "$type", "bridge": "br0",
     "ipam": {"type": "host-local", "dataDir": "$PWD/data", "resolvConf": "$PWD/resolv.conf",
              "ranges": [[{"subnet": "10.0.0.0/24"}]]}}
CONF
  )"
done
SCRIPT
expect <<'TEXT'
bridge: {}
ptp: {'nameservers': ['192.0.2.53']}
TEXT
