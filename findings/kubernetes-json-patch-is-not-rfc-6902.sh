#!/usr/bin/env bash
# A JSON patch that replaces a key that is not there succeeds in Kubernetes, and adds it.
#
# One would guess: Kubernetes' JSON patch is RFC 6902, as its documentation says: the target of "replace" must
#   exist; a "test" of a missing key fails; an index is a number without a sign.
# What it does: it uses version 4 of a Go library that takes a missing key for null. "replace" adds the key, "test"
#   against null passes, "copy" of what is missing writes null; /-1 is the last element of a list. "remove" of a
#   missing key and an index beyond the list are refused as in the RFC.
# So: a "replace" is no guard against a key that somebody renamed or removed: put a "test" with the old value before
#   it. A patch that a library's test passed or refused may do the other in the cluster.
# Seen with: kubectl 1.37.1, jsonpatch 1.48, November 2026.
source "$(dirname "$0")/common.bash"
python jsonpatch==1.48
kubectl

seen <<'SCRIPT'
cat > compare.py <<'PYTHON'
import json, subprocess
import jsonpatch

CONFIG = {"apiVersion": "v1", "kind": "ConfigMap",
          "metadata": {"name": "a", "finalizers": ["lab/one", "lab/two"]}, "data": {"key": "1"}}
PATCHES = [
    {"op": "replace", "path": "/data/missing", "value": "2"},
    {"op": "test", "path": "/data/missing", "value": None},
    {"op": "copy", "from": "/data/missing", "path": "/data/new"},
    {"op": "remove", "path": "/metadata/finalizers/-1"},
    {"op": "remove", "path": "/data/missing"},
]

def python(patch):
    try:
        return jsonpatch.apply_patch(CONFIG, [patch])
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException):
        return None

def kubectl(patch):
    done = subprocess.run(
        ["kubectl", "patch", "--local", "-f", "-", "--type", "json", "-p", json.dumps([patch]), "-o", "json"],
        input=json.dumps(CONFIG), capture_output=True, text=True)
    return None if done.returncode else json.loads(done.stdout)

def shown(result):
    if result is None:
        return "refused"
    return json.dumps({"data": result["data"], "finalizers": result["metadata"]["finalizers"]})

for patch in PATCHES:
    print(json.dumps(patch))
    print("  jsonpatch:", shown(python(patch)))
    print("  kubectl:  ", shown(kubectl(patch)))
PYTHON
python compare.py
SCRIPT
expect <<'TEXT'
{"op": "replace", "path": "/data/missing", "value": "2"}
  jsonpatch: refused
  kubectl:   {"data": {"key": "1", "missing": "2"}, "finalizers": ["lab/one", "lab/two"]}
{"op": "test", "path": "/data/missing", "value": null}
  jsonpatch: refused
  kubectl:   {"data": {"key": "1"}, "finalizers": ["lab/one", "lab/two"]}
{"op": "copy", "from": "/data/missing", "path": "/data/new"}
  jsonpatch: refused
  kubectl:   {"data": {"key": "1", "new": null}, "finalizers": ["lab/one", "lab/two"]}
{"op": "remove", "path": "/metadata/finalizers/-1"}
  jsonpatch: refused
  kubectl:   {"data": {"key": "1"}, "finalizers": ["lab/one"]}
{"op": "remove", "path": "/data/missing"}
  jsonpatch: refused
  kubectl:   refused
TEXT
