#!/bin/sh
# The plugin under podman (with its CNI back end, as in Debian 12): a web server behind a port of the host.
# As root, with an image that has busybox:
#   podman pull docker.io/library/busybox:latest
#   examples/cni/podman.sh docker.io/library/busybox:latest
# To take it away again: bin/podwire cni uninstall; ip link del podwire1
set -eu
image=$1
here=$(dirname "$(readlink -f "$0")")
podwire=$here/../../bin/podwire

"$podwire" cni install --no-conf # /opt/cni/bin/podwire-cni
mkdir -p /etc/cni/net.d
cp "$here/podman.conflist" /etc/cni/net.d/20-podwire-podman.conflist
podman network ls --format '{{.Name}}: {{.Driver}}'

podman run --detach --name podwire-web --network podwire-podman --ip 10.78.0.10 --publish 8089:80 \
  --entrypoint /bin/busybox "$image" sh -c '
    mkdir -p /www && echo hello from podman > /www/index.html && busybox httpd -f -p 80 -h /www'
trap 'podman rm --force --time 0 podwire-web' EXIT

"$podwire" cni list # who holds which address
nft list table inet podwire_cni | grep 8089 # where the port leads
for try in 1 2 3 4 5 6 7 8 9 10; do # until the server listens
  busybox wget -q -O - http://127.0.0.1:8089/ 2> /dev/null && exit
  sleep 0.5
done
echo "nobody answers at port 8089" >&2
exit 1
