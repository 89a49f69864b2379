#!/bin/bash
# Make this machine the control plane, and a node of it too: control-plane.sh ADDRESS
# /tmp/podwire-cluster.yaml has the settings that lab.yaml shares with podwire.
set -euo pipefail
address=$1
arrived=/tmp/podwire-cluster.yaml
settings=/etc/podwire-lab.yaml
[[ ! -f $arrived ]] || install -m 644 "$arrived" "$settings"
rm -f "$arrived"
podwire install control-plane --node-ip "$address" --config "$settings"
read -r -a join < <(podwire token create --ttl 15m --print-join-command)
"${join[@]}" --node-ip "$address" --container-runtime-endpoint unix:///run/containerd/containerd.sock
