#!/usr/bin/env bash
# A pinned BPF map is gone in "ip netns exec", and in "nsenter --net" /sys/class/net lists the links of outside.
#
# One would guess: both commands run a program in another network namespace, and nothing else differs.
# What happens: "ip netns exec" also gives the program a mount namespace with a new /sys. Its files are those of the
#   network namespace, and what was mounted below is not there: no pinned BPF maps in /sys/fs/bpf, no groups in
#   /sys/fs/cgroup. "nsenter --net" leaves /sys as it is: maps and groups are there, and the files of /sys/class/net,
#   statistics too, are those of the namespace that mounted it.
# So: a tool that opens a pinned map fails with "No such file or directory" in the one, and a tool that reads
#   /sys/class/net tells of the wrong links in the other. Ask netlink for links; find maps by name or id; or mount
#   what is needed oneself.
# Seen with: Linux 6.18, iproute2 6.1.0-3, bpftool 7.1.0+6.1.192-3, util-linux 2.38.1-5+deb12u3, November 2026.
source "$(dirname "$0")/common.bash"

debian iproute2 bpftool util-linux libbpf1
seen <<'SCRIPT'
mount -t sysfs sysfs /sys
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
bpftool map create /sys/fs/bpf/counts type array key 4 value 4 entries 1 name counts
ip netns add other
ip link add outside type veth peer name inside netns other
for enter in "ip netns exec other" "nsenter --net=/run/netns/other"; do
  echo "$enter:"
  ($enter bpftool map show pinned /sys/fs/bpf/counts 2>&1 || true) | sed -n '/: array/s/.*/a pinned map is found/p;/^Error/p'
  echo "a map of this name: $($enter bpftool -j map show name counts | grep -o '"name":"[a-z]*"')"
  echo "files of the root group: $($enter ls /sys/fs/cgroup | grep -c '^cgroup.procs' || true)"
  echo "/sys/class/net: $($enter ls /sys/class/net | grep side)"
  echo "ip link: $($enter ip -br link show | grep -o '[a-z]*side')"
done
SCRIPT
expect <<'TEXT'
ip netns exec other:
Error: bpf obj get (/sys/fs/bpf/counts): No such file or directory
a map of this name: "name":"counts"
files of the root group: 0
/sys/class/net: inside
ip link: inside
nsenter --net=/run/netns/other:
a pinned map is found
a map of this name: "name":"counts"
files of the root group: 1
/sys/class/net: outside
ip link: inside
TEXT
