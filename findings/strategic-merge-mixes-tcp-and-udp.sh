#!/usr/bin/env bash
# A patch of a Service's TCP port changes its UDP port of the same number.
#
# One would guess: an element of a Service's "ports" is known by number and protocol, as server-side apply knows
#   it; a DNS Service has 53/UDP and 53/TCP.
# What happens: a strategic merge patch, which "kubectl patch" sends and which "kubectl apply" makes, knows a port
#   by its number alone (x-kubernetes-patch-merge-key: port). The patch of 53/TCP takes the first element with
#   53, whatever its protocol; the Service has 53/TCP twice then, and the server refuses it as a duplicate. With a
#   list of both ports one of them gets the new values and the other stays. Containers' ports are merged in
#   the same way. "kubectl kustomize" reads the same patch and knows both.
# So: where two protocols share a port, patch by JSON patch or apply on the server's side.
# Seen with: kubectl 1.37.1 with kustomize 5.8.1, November 2026.
source "$(dirname "$0")/common.bash"
kubectl

seen <<'SCRIPT'
cat > dns.yaml <<'YAML'
apiVersion: v1
kind: Service
metadata:
  name: dns
spec:
  ports:
  - {name: dns, port: 53, protocol: UDP}
  - {name: dns-tcp, port: 53, protocol: TCP}
YAML
ports() {
  python3 -c '
import json, sys
for port in json.load(sys.stdin)["spec"]["ports"]:
    print("  {name} {port}/{protocol} to {targetPort}".format(**{"targetPort": "the same"} | port))'
}
patch() { kubectl patch --local -f dns.yaml --patch "$1" -o json | ports; }
tcp='{"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 5353}'
udp='{"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 5353}'
echo "patch of 53/TCP:"
patch "{\"spec\": {\"ports\": [$tcp]}}"
echo "patch of 53/TCP and 53/UDP:"
patch "{\"spec\": {\"ports\": [$tcp, $udp]}}"
echo "kustomize, patch of 53/TCP:"
cat > kustomization.yaml <<YAML
resources: [dns.yaml]
patches:
- patch: '{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "dns"}, "spec": {"ports": [$tcp]}}'
YAML
kubectl kustomize . > both.yaml
kubectl annotate --local -f both.yaml -o json by=kustomize | ports
SCRIPT
expect <<'TEXT'
patch of 53/TCP:
  dns-tcp 53/TCP to 5353
  dns-tcp 53/TCP to the same
patch of 53/TCP and 53/UDP:
  dns 53/UDP to 5353
  dns-tcp 53/TCP to the same
kustomize, patch of 53/TCP:
  dns 53/UDP to the same
  dns-tcp 53/TCP to 5353
TEXT
