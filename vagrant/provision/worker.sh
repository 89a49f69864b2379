#!/bin/bash
# Join this machine to the cluster: worker.sh ADDRESS
# /tmp/podwire-join, which node1 wrote, is the command with which machines join. A machine that has
# joined needs none.
set -euo pipefail
address=$1
arrived=/tmp/podwire-join
fail() { echo "podwire provision: $(hostname): $1" >&2; exit 1; }

trap 'rm -f "$arrived"' EXIT # it holds a token
if systemctl is-enabled --quiet podwire-agent 2>/dev/null && [[ ! -s $arrived ]]; then
  systemctl start podwire-agent podwire-proxy
  exit
fi
[[ -s $arrived ]] || fail "no token arrived from node1: vagrant up node1, then vagrant provision $(hostname)"
read -r -a join < "$arrived"
# podwire join HOST:6443 --token ... --discovery-token-ca-cert-hash ...
[[ ${join[0]:-} == podwire && ${join[1]:-} == join ]] || fail "$arrived holds no command of podwire join"
"${join[@]}" --node-ip "$address" --container-runtime-endpoint unix:///run/containerd/containerd.sock
