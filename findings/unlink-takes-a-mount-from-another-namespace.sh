#!/usr/bin/env bash
# "rm" of a file takes away the network namespace that is mounted on it in another mount namespace.
#
# One would guess: rm and rmdir of a mount point fail with "Device or resource busy", as rmdir(2) says; a mount
#   that one mount namespace alone has is nobody else's business.
# What happens: busy is only who has the mount in the own mount namespace. Elsewhere unlink and rmdir succeed,
#   and the kernel detaches the mount wherever it is. If the bind mount was the last to hold a network
#   namespace, that namespace ends with its links.
# So: a clean-up of /run/netns that sees only an empty file, from a container or a unit with PrivateMounts, may
#   take a Pod's network away. Look into the mount namespace of the owner before you remove a mount point.
# Seen with: Linux 6.18, November 2026.
source "$(dirname "$0")/common.bash"

seen <<'SCRIPT'
mkdir /run/pods
mount -t tmpfs pods /run/pods
touch /run/pods/netns
mkdir /run/pods/volume
cat > owner <<'OWNER'
look() {
  echo "owner $1: $(stat -fc %T /run/pods/netns 2>&1)"
  nsenter --net=/run/pods/netns ip -o link show veth0 > link 2>&1 && echo "  its namespace has veth0" \
    || echo "  its namespace cannot be entered"
  echo "  mounts: $(grep -c ' /run/pods/' /proc/self/mounts || true)"
}
unshare --net=/run/pods/netns ip link add veth0 type veth peer name veth1
mount -t tmpfs volume /run/pods/volume
look "before"
rm /run/pods/netns 2> /dev/null || echo "  its own rm: refused"
rmdir /run/pods/volume 2> /dev/null || echo "  its own rmdir: refused"
echo > ready
until [[ -e removed ]]; do sleep 0.05; done
look "after"
OWNER
unshare --mount --propagation private bash owner &
until [[ -e ready ]]; do sleep 0.05; done
echo "other: /run/pods/netns is a $(stat -c %F /run/pods/netns)"
rm /run/pods/netns && echo "  rm: done"
rmdir /run/pods/volume && echo "  rmdir: done"
echo > removed
wait
SCRIPT
expect <<'TEXT'
owner before: nsfs
  its namespace has veth0
  mounts: 2
  its own rm: refused
  its own rmdir: refused
other: /run/pods/netns is a regular empty file
  rm: done
  rmdir: done
owner after: stat: cannot read file system information for '/run/pods/netns': No such file or directory
  its namespace cannot be entered
  mounts: 0
TEXT
