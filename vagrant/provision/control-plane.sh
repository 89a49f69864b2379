#!/bin/bash
# Make this machine a control plane, and a node of it too: control-plane.sh ADDRESS first|other
# /tmp/podwire-cluster.yaml has the settings that lab.yaml shares with podwire. /tmp/podwire-join, if it has
# something, is the command of another control plane's cluster: others join by it, and so does the first one that
# was made anew.
set -euo pipefail
address=$1 place=$2
arrived=/tmp/podwire-cluster.yaml
settings=/etc/podwire-lab.yaml
command=/tmp/podwire-join
config=/etc/podwire/config.yaml
fail() { echo "podwire provision: $(hostname): $1" >&2; exit 1; }

has_begun_it() { # this machine, whose etcd has joined nobody
  grep --quiet "initialCluster: ''" "$config" 2>/dev/null
}

trap 'rm -f "$arrived" "$command"' EXIT # it holds a token
[[ ! -f $arrived ]] || install -m 644 "$arrived" "$settings"
if [[ -s $command ]] && ! has_begun_it; then
  read -r -a join < "$command"
  [[ ${join[0]:-} == podwire && ${join[1]:-} == join ]] || fail "$command holds no command of podwire join"
  "${join[@]}" --node-ip "$address"
elif [[ $place == first ]] || [[ -f $config ]]; then
  podwire install control-plane --node-ip "$address" --config "$settings"
else
  fail "no command to join by arrived: vagrant up node1, then vagrant provision $(hostname)"
fi
read -r -a join < <(podwire token create --ttl 15m --print-join-command)
"${join[@]}" --node-ip "$address" --container-runtime-endpoint unix:///run/containerd/containerd.sock
