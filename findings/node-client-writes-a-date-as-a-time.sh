#!/usr/bin/env bash
# The Node.js client reads "2026-11-29" in a ConfigMap as a time, and writes another text into the cluster.
#
# One would guess: loadYaml() of Kubernetes' own client keeps what kubectl keeps: data, labels and values of
#   environment variables are text.
# What it does: its YAML reader makes a Date of each date without quotes, also where the type says "string", and
#   JSON makes of it "2026-11-29T00:00:00.000Z". kubectl reads the text "2026-11-29". A Lease's renewTime goes the
#   same way and keeps three digits of its six, which Go then refuses.
# So: quote dates in manifests; load manifests for this client as JSON.
# Seen with: @kubernetes/client-node 1.4.0, Node.js 20.20.2, kubectl 1.37.1, November 2026.
source "$(dirname "$0")/common.bash"
kubectl
npm install --silent --no-audit --no-fund --prefix "$work" @kubernetes/client-node@1.4.0 > /dev/null 2>&1 \
  || cannot "npm cannot install @kubernetes/client-node"

seen <<'SCRIPT'
cat > config.yaml <<'YAML'
apiVersion: v1
kind: ConfigMap
metadata:
  name: release
data:
  date: 2026-11-29
YAML
cat > lease.yaml <<'YAML'
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata:
  name: leader
spec:
  renewTime: 2026-11-29T01:02:03.456789Z
YAML
cat > read.mjs <<'JAVASCRIPT'
import { readFileSync } from 'node:fs';
import { loadYaml } from '@kubernetes/client-node';

const load = (file) => JSON.parse(JSON.stringify(loadYaml(readFileSync(file, 'utf8'))));
console.log('client-node:', load('config.yaml').data.date, load('lease.yaml').spec.renewTime);
JAVASCRIPT
node read.mjs
one() { kubectl annotate --local -f "$1" -o jsonpath="{$2}" by=reader; }
echo "kubectl: $(one config.yaml .data.date) $(one lease.yaml .spec.renewTime)"
SCRIPT
expect <<'TEXT'
client-node: 2026-11-29T00:00:00.000Z 2026-11-29T01:02:03.456Z
kubectl: 2026-11-29 2026-11-29T01:02:03.456789Z
TEXT
