#!/usr/bin/env bash
# busybox nslookup ends with code 1 when it has found a Service's short name, and never finds SERVICE.NAMESPACE.
#
# One would guess: nslookup finds what other programs find, and ends with 0 when it prints an address. So
#   "until nslookup web; do sleep 1; done" waits for a Service, as tutorials for init containers say.
# What it does: it asks for a name without a dot below each search domain and ends with 1 if one of them does not
#   have it. A Pod has three search domains, so with a short name that always happens: the loop never ends. A name
#   with a dot is asked for as it is, without search domains, whatever ndots says: web.shop is not found.
# So: give nslookup the whole name; for short names ask with wget or getent.
# Seen with: busybox 1.35.0 (Debian 12), dnsmasq 2.90 as the server, November 2026.
source "$(dirname "$0")/common.bash"
debian busybox=1:1.35.0-4+deb12u1+b1 dnsmasq-base=2.90-4~deb12u2

seen <<'SCRIPT'
printf 'nameserver 127.0.0.1\nsearch shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n' > resolv.conf
mount --bind resolv.conf /etc/resolv.conf
dnsmasq --no-resolv --no-hosts --conf-file=/dev/null --pid-file= --user=root --interface=lo --bind-interfaces \
  --local=/cluster.local/ --host-record=web.shop.svc.cluster.local,10.96.0.7
for name in web web.shop web.shop.svc.cluster.local; do
  code=0
  busybox nslookup -type=a "$name" > answer 2>&1 || code=$?
  found=$(grep --max-count=1 --only-matching '10.96.0.7' answer || echo none)
  echo "$name: address $found, $(grep --count "can't find" answer || true) names not found, code $code"
done
SCRIPT
expect <<'TEXT'
web: address 10.96.0.7, 2 names not found, code 1
web.shop: address none, 1 names not found, code 1
web.shop.svc.cluster.local: address 10.96.0.7, 0 names not found, code 0
TEXT
