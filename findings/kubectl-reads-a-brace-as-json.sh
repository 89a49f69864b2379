#!/usr/bin/env bash
# kubectl 1.32 refuses YAML that begins with "{", and takes it after a comment; kubectl 1.33 and later take both.
#
# One would guess: what is valid YAML is valid for kubectl, whatever its first character is.
# What older ones do: a document whose first character is "{" is read as JSON only, and names need quotes there. One
#   line of comment before it makes it YAML. Since 1.33 what is no JSON is tried as YAML.
# So: write one-line manifests for "kubectl apply -f -" as JSON, or as lines.
# Seen with: kubectl 1.32 and 1.37, November 2026.
source "$(dirname "$0")/common.bash"
kubectl v32==2.1.0
kubectl v37==2.0.0

seen <<'SCRIPT'
pod='{apiVersion: v1, kind: Pod, metadata: {name: a}}'
for minor in 32 37; do
  client=v$minor/kubectl/kubectl
  echo "1.$minor, at the beginning: $(echo "$pod" | $client label --local -f - a=b -o name 2>&1)"
  echo "1.$minor, after a comment: $(printf '# a Pod\n%s\n' "$pod" | $client label --local -f - a=b -o name 2>&1)"
done
SCRIPT
expect <<'TEXT'
1.32, at the beginning: error: error parsing STDIN: json: offset 2: invalid character 'a' looking for beginning of object key string
1.32, after a comment: pod/a
1.37, at the beginning: pod/a
1.37, after a comment: pod/a
TEXT
