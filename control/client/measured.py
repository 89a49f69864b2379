"""The metrics of a component's requests, by client-go's names, labels and buckets.

Source: k8s.io/component-base/metrics/prometheus/restclient
"""

from control.metrics import Counter, Histogram, Registry

_LATENCY = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
_SIZES = (64, 256, 512, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216)
_VERB_HOST = ("verb", "host")
ERROR = "<error>"  # the code of a request without an answer


class RequestMetrics:
    """Counts requests; ``host`` is the API server's, with its port if the kubeconfig has one."""

    def __init__(self, registry: Registry) -> None:
        self._total = Counter(
            "counter",
            "rest_client_requests_total",
            "Number of HTTP requests, partitioned by status code, method, and host.",
            ("code", "method", "host"),
        )
        self._retries = Counter(
            "counter",
            "rest_client_request_retries_total",
            "Number of request retries, partitioned by status code, verb, and host.",
            ("code", *_VERB_HOST),
        )
        self._seconds = Histogram(
            "rest_client_request_duration_seconds",
            "Request latency in seconds. Broken down by verb, and host.",
            _VERB_HOST,
            _LATENCY,
        )
        self._sent = Histogram(
            "rest_client_request_size_bytes",
            "Request size in bytes. Broken down by verb and host.",
            _VERB_HOST,
            _SIZES,
        )
        self._received = Histogram(
            "rest_client_response_size_bytes",
            "Response size in bytes. Broken down by verb and host.",
            _VERB_HOST,
            _SIZES,
        )
        registry.keep(self._total, self._retries, self._seconds, self._sent, self._received)

    def answered(self, verb: str, host: str, code: int | None, size: int) -> None:
        """Count a request that was sent with ``size`` bytes; no code: it had no answer."""
        self._total.add(str(code or ERROR), verb, host)
        self._sent.observe(verb, host, value=size)

    def read(self, verb: str, host: str, size: int) -> None:
        """Count the bytes of an answer."""
        self._received.observe(verb, host, value=size)

    def retried(self, verb: str, host: str, code: int | None) -> None:
        """Count a request that is sent again after this code."""
        self._retries.add(str(code or ERROR), verb, host)

    def ended(self, verb: str, host: str, seconds: float) -> None:
        """Count a request that is no watch, after its last try."""
        self._seconds.observe(verb, host, value=seconds)
