# A Pod on each node, and a Service before them: print_objects NODE...

print_objects() {
  local node
  for node in "$@"; do
    cat <<YAML
apiVersion: v1
kind: Pod
metadata: {name: web-$node, labels: {app: web}}
spec:
  nodeName: $node
  terminationGracePeriodSeconds: 1
  containers: [{name: web, image: podwire/tools, imagePullPolicy: Never, command: [/bin/serve, "8080"]}]
---
YAML
  done
  cat <<YAML
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
YAML
}
