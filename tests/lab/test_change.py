"""What ``podwire lab set`` waits for: the new proxies serve."""

import os
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from lab import change


@pytest.mark.parametrize(("path", "answer"), [("/livez", 200), ("/healthz", 503)])
def test_a_proxy_serves_when_its_health_says_so(path, answer):
    """Only this path counts: another one also depends on the node."""

    class Health(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(answer if self.path == path else 503)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(change._HEALTH, Health) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        assert change._serves(os.getpid()) is (answer == 200)
        server.shutdown()
        thread.join()


def test_a_proxy_that_starts_does_not_serve_yet():
    assert change._serves(os.getpid()) is False
