"""An admission webhook in one file, of Python's standard library: see docs/admission.md.

``/label`` gives a new Pod the name of the user who made it as a label. ``/hosts`` refuses a Service
whose external name is outside of example.com, and warns of any other one.
"""

import base64
import json
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def label(request: dict[str, Any]) -> dict[str, Any]:
    """Give a Pod the label ``made-by``; what no label may have becomes a dash."""
    user = request["userInfo"]["username"]
    value = "".join(sign if sign.isalnum() else "-" for sign in user)[:63].strip("-")
    labels = request["object"]["metadata"].get("labels")
    patch = [{"op": "add", "path": "/metadata/labels/made-by", "value": value}]
    if labels is None:
        patch = [{"op": "add", "path": "/metadata/labels", "value": {"made-by": value}}]
    text = base64.b64encode(json.dumps(patch).encode()).decode()
    return {"allowed": True, "patchType": "JSONPatch", "patch": text}


def hosts(request: dict[str, Any]) -> dict[str, Any]:
    """Refuse names of other domains."""
    name = request["object"]["spec"].get("externalName", "")
    if not name or name.endswith(".example.com"):
        return {"allowed": True, "warnings": ["this Service leaves the cluster"] if name else []}
    return {"allowed": False, "status": {"code": 403, "message": f"{name} is not ours"}}


ANSWERS = {"/label": label, "/hosts": hosts}


class Handler(BaseHTTPRequestHandler):
    """Answers an AdmissionReview by an AdmissionReview."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = review.pop("request")
        answer = ANSWERS[self.path.partition("?")[0]](request)
        review["response"] = {"uid": request["uid"]} | answer
        body = json.dumps(review).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    folder = sys.argv[1]
    server = ThreadingHTTPServer(("", 8443), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{folder}/tls.crt", f"{folder}/tls.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()
