#!/bin/sh
# The plugin under containerd: installs it, gives containerd a network, and runs two containers in it.
# As root, with containerd running and an image that has busybox:
#   ctr image pull docker.io/library/busybox:latest
#   examples/cni/containerd.sh docker.io/library/busybox:latest
# To take it away again: bin/podwire cni uninstall; ip link del podwire0
set -eu
image=$1
here=$(dirname "$(readlink -f "$0")")
podwire=$here/../../bin/podwire

"$podwire" cni install --no-conf # /opt/cni/bin/podwire-cni
mkdir -p /etc/cni/net.d
cp "$here/containerd.conflist" /etc/cni/net.d/10-podwire.conflist # containerd reads it at once

run() { # NAME SCRIPT: in a container that is gone afterwards
  ctr run --rm --cni "$image" "$1" /bin/busybox sh -c "$2"
}
run podwire-one 'busybox ip address show dev eth0' | grep -o 'inet6* 10[^ ]*\|inet6 fd[^ ]*'
run podwire-two '
  busybox ping -c 1 10.77.0.1 | busybox grep transmitted # the host
  mkdir -p /www && echo hello > /www/index.html && busybox httpd -p 80 -h /www
  busybox wget -q -O - http://127.0.0.1/'
"$podwire" cni list # nothing is left of them
