#!/usr/bin/env bash
# "[2001:db8::]" is a list with an object for PyYAML, and a list with an address for kubectl; "[::1]" only
# ruamel.yaml reads, which also writes it.
#
# One would guess: an IPv6 address without quotes is text, as it is in "cidr: ::/0"; what one library writes
#   the others read.
# What they do: in YAML 1.2 a colon ends a key only before a space or at the end, so both are text. PyYAML and
#   kubectl's reader refuse a text that begins with a colon inside [] or {}; PyYAML takes a last colon for that of
#   a key, and returns {"2001:db8:": null} without an error. In block style (a dash and a line for each) all agree.
# So: quote IPv6 addresses and networks in flow style. Set default_flow_style when ruamel writes what others read.
# Seen with: PyYAML 6.0.4, ruamel.yaml 0.19.1, kubectl 1.37.1, November 2026.
source "$(dirname "$0")/common.bash"
python PyYAML==6.0.4 ruamel.yaml==0.19.1
kubectl

seen <<'SCRIPT'
cat > read.py <<'PYTHON'
import io, json, subprocess
import ruamel.yaml, yaml

def kubectl(text):
    manifest = f"apiVersion: v1\nkind: Service\nmetadata: {{name: a}}\nspec:\n  clusterIPs: {text}\n"
    done = subprocess.run(
        ["kubectl", "annotate", "--local", "-f", "-", "-o", "json", "by=reader"],
        input=manifest, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(done.stderr)
    return json.loads(done.stdout)["spec"]["clusterIPs"]

READERS = {
    "PyYAML": yaml.safe_load, "ruamel": ruamel.yaml.YAML(typ="safe", pure=True).load, "kubectl": kubectl}

def read(reader, text):
    try:
        return READERS[reader](text)
    except (ValueError, yaml.YAMLError):
        return "an error"

def show(text):
    print(text, *(f"  {reader}: {read(reader, text)}" for reader in READERS), sep="\n")

for address in ("2001:db8::", "::1"):
    show(f"[{address}]")
wrote = io.StringIO()
ruamel.yaml.YAML(typ="safe", pure=True).dump(["::1", "2001:db8::1"], wrote)
print("ruamel wrote this one:", end=" ")
show(wrote.getvalue().strip())
PYTHON
python read.py
SCRIPT
expect <<'TEXT'
[2001:db8::]
  PyYAML: [{'2001:db8:': None}]
  ruamel: ['2001:db8::']
  kubectl: ['2001:db8::']
[::1]
  PyYAML: an error
  ruamel: ['::1']
  kubectl: an error
ruamel wrote this one: [::1, 2001:db8::1]
  PyYAML: an error
  ruamel: ['::1', '2001:db8::1']
  kubectl: an error
TEXT
