#!/usr/bin/env bash
# The Python client writes the time of a Lease or an Event so that Go refuses it, once in a million times.
#
# One would guess: renewTime and eventTime are times; whatever the generated client makes of a datetime is right.
# What happens: these fields are of the type MicroTime, and Go reads it with exactly six digits of a fraction.
#   Python's isoformat(), which the client uses, leaves the fraction out when the microseconds are 0. Each time that
#   a program makes of whole seconds, and one of a million that come from now(), is refused: "cannot parse".
#   A Time, such as creationTimestamp, may have a fraction or none.
# So: a program with 100 Leases that renews each every 10 s meets it about once a day. Add a microsecond when there
#   is none.
# Seen with: kubernetes 37.0.2, kubectl 1.37.1 as the reader, November 2026.
source "$(dirname "$0")/common.bash"
python kubernetes==37.0.2
kubectl

seen <<'SCRIPT'
cat > ask.py <<'PYTHON'
import http.server, json, subprocess, threading
from datetime import datetime, timezone
from kubernetes import client

class Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
for microsecond in (500000, 0):
    event = client.CoreV1Event(
        metadata=client.V1ObjectMeta(name="a", namespace="default"), reason="Lab", type="Normal",
        involved_object=client.V1ObjectReference(kind="Pod", name="a"),
        event_time=datetime(2026, 11, 29, 1, 2, 3, microsecond, tzinfo=timezone.utc))
    written = client.ApiClient().sanitize_for_serialization(event)
    print("the client writes", written["eventTime"])
    answer = {"apiVersion": "v1", "kind": "EventList", "metadata": {}, "items": [written]}
    done = subprocess.run(
        ["kubectl", "--server", f"http://127.0.0.1:{server.server_port}", "events", "--no-headers"],
        capture_output=True, text=True)
    print("  kubectl:", " ".join(done.stdout.split()[1:]) or done.stderr.split(": ", 1)[-1].strip())
PYTHON
python ask.py
SCRIPT
expect <<'TEXT'
the client writes 2026-11-29T01:02:03.500000+00:00
  kubectl: Normal Lab Pod/a
the client writes 2026-11-29T01:02:03+00:00
  kubectl: parsing time "2026-11-29T01:02:03+00:00" as "2006-01-02T15:04:05.000000Z07:00": cannot parse "+00:00" as ".000000"
TEXT
