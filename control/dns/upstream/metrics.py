"""What CoreDNS' plugins forward and cache count, by their names."""

from collections.abc import Iterator

import dns.rcode

from control.dns.upstream.cache import Cache
from control.dns.upstream.routes import Server
from control.metrics import Counter, Histogram, Measured, exponential

_FORWARD = "forward"
_PROXY = ("proxy_name", "to")
_WHERE = ("server", "zones", "view")
_HERE = ("dns://:53", ".", "")
_CACHE = {
    "entries": ("gauge", "The number of elements in the cache."),
    "evictions_total": ("counter", "The count of cache evictions."),
    "hits_total": ("counter", "The count of cache hits."),
    "misses_total": ("counter", "The count of cache misses."),
    "requests_total": ("counter", "The count of cache requests."),
}


class UpstreamMetrics:
    """The counters; those of the cache are read from it."""

    def __init__(self, cache: Cache) -> None:
        self._broken = Counter(
            "counter",
            "coredns_forward_healthcheck_broken_total",
            "Counter of the number of complete failures of the healthchecks.",
            (),
        )
        self._rejects = Counter(
            "counter",
            "coredns_forward_max_concurrent_rejects_total",
            "Counter of the number of queries rejected because the concurrent queries were at "
            "maximum.",
            (),
        )
        self._fails = Counter(
            "counter",
            "coredns_proxy_healthcheck_failures_total",
            "Counter of the number of failed healthchecks.",
            _PROXY,
        )
        self._seconds = Histogram(
            "coredns_proxy_request_duration_seconds",
            "Histogram of the time each request took.",
            (*_PROXY, "rcode"),
            exponential(0.00025, 2, 16),
        )
        self._cache = [_measured(cache, name) for name in _CACHE]
        for counter in (self._broken, self._rejects):
            counter.add(value=0)

    def broken(self) -> None:
        """Count a question for which every resolver is down."""
        self._broken.add()

    def rejected(self) -> None:
        """Count a query that came while too many others waited."""
        self._rejects.add()

    def check_failed(self, server: Server) -> None:
        """Count a check of a resolver's health that failed."""
        self._fails.add(_FORWARD, str(server))

    def replied(self, server: Server, rcode: int, seconds: float) -> None:
        """Count a resolver's reply."""
        text = dns.rcode.to_text(dns.rcode.Rcode.make(rcode))
        self._seconds.observe(_FORWARD, str(server), text, value=seconds)

    def lines(self) -> Iterator[str]:
        """Yield the text."""
        for counter in (self._broken, self._rejects, self._fails):
            yield from counter.lines()
        yield from self._seconds.lines()
        for each in self._cache:
            yield from each.lines()


def _measured(cache: Cache, name: str) -> Measured:
    kind, meaning = _CACHE[name]
    typed = name in ("entries", "evictions_total", "hits_total")

    def read() -> dict[tuple[str, ...], float]:
        server, *rest = _HERE
        return {(server, *labels, *rest): value for labels, value in cache.counts()[name].items()}

    labels = ("server", "type", "zones", "view") if typed else _WHERE
    return Measured(kind, f"coredns_cache_{name}", meaning, labels, read)
