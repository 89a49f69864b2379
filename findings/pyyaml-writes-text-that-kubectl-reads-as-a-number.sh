#!/usr/bin/env bash
# PyYAML writes the text "12e45", a short hash of a commit, without quotes, and kubectl reads a number.
#
# One would guess: PyYAML quotes each text that could be read as something else: it does so for "012" and "on".
# What it does: it quotes what PyYAML itself would misread. Its own rules know a number with an exponent only with
#   a point and a sign ("1.0e+3"), no "0o17" and no "08", and "y" is text. kubectl's reader takes these for
#   numbers and a boolean. So one short hash of about a hundred is refused as a label, and in an object that has
#   no schema it becomes another value without a word. 12e4567 is too large for a number, and is text.
# So: write manifests as JSON, which each YAML reader understands, or quote all text (default_style='"').
# Seen with: PyYAML 6.0.4, kubectl 1.37.1, November 2026.
source "$(dirname "$0")/common.bash"
python PyYAML==6.0.4
kubectl

seen <<'SCRIPT'
for text in 12e45 7e2 08 0o17 y 12e4567 012 on; do
  TEXT=$text python - > manifest.yaml <<'PYTHON'
import os, yaml
text = os.environ["TEXT"]
pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "labels": {"commit": text}}}
print(yaml.safe_dump(pod))
PYTHON
  echo "$(grep -o 'commit: .*' manifest.yaml): $(
    kubectl annotate --local -f manifest.yaml -o jsonpath='{.metadata.labels.commit}' by=a 2>&1 \
      | sed 's/.*cannot unmarshal \([a-z]*\) .*/refused, it is a \1/')"
done
SCRIPT
expect <<'TEXT'
commit: 12e45: refused, it is a number
commit: 7e2: refused, it is a number
commit: 08: refused, it is a number
commit: 0o17: refused, it is a number
commit: y: refused, it is a bool
commit: 12e4567: 12e4567
commit: '012': 012
commit: 'on': on
TEXT
