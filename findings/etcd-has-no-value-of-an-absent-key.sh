#!/usr/bin/env bash
# In an etcd transaction both value("k") = "x" and value("k") != "x" are false when there is no key k.
#
# One would guess: a key that is not there has another value than "x", or the empty value, so one of "=" and
#   "!=" is true, as for version and mod, which are 0 for an absent key.
# What etcd does: each comparison of the value of an absent key is false. And a transaction may name a key in one
#   put or delete only: "delete, then put", which would begin a key's version anew, is refused.
# So: write "unless it is x already" as two comparisons in two transactions, or compare the version or mod revision.
# Seen with: etcd 3.4.23 (Debian 12), November 2026.
source "$(dirname "$0")/common.bash"
debian etcd-server=3.4.23-4+b4 etcd-client=3.4.23-4+b4

seen <<'SCRIPT'
export ETCDCTL_API=3
etcd --data-dir data --log-level error > log 2>&1 &
until etcdctl endpoint health > health 2>&1; do sleep 0.1; done
transaction() { etcdctl txn 2>&1 | grep -o -e '^SUCCESS' -e '^FAILURE' -e '^Error: .*'; }
for comparison in 'value("k") = "x"' 'value("k") != "x"' 'value("k") = ""' 'version("k") != "7"' 'mod("k") = "0"'; do
  echo "$comparison: $(printf '%s\n\n\n\n' "$comparison" | transaction)"
done
echo "delete, then put: $(printf '\ndel k\nput k x\n\n\n' | transaction || true)"
SCRIPT
expect <<'TEXT'
value("k") = "x": FAILURE
value("k") != "x": FAILURE
value("k") = "": FAILURE
version("k") != "7": SUCCESS
mod("k") = "0": SUCCESS
delete, then put: Error: etcdserver: duplicate key given in txn request
TEXT
