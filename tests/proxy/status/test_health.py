"""Responses for load balancers and supervisors, and metrics for Prometheus."""

from proxy.status.health import TIMEOUT, ProxyHealth


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def made():
    clock = Clock()
    return ProxyHealth(clock), clock


def test_the_proxy_is_unhealthy_before_the_first_sync():
    health, _ = made()
    assert health.healthz().status == 503
    health.updated()
    assert health.healthz().status == 200
    assert health.livez().status == 200


def test_a_change_may_not_wait_for_too_long():
    health, clock = made()
    health.updated()
    health.queued()
    clock.now += TIMEOUT - 1
    health.queued()  # the oldest counts
    assert health.livez().status == 200
    clock.now += 2
    assert health.livez().status == 503
    since = health.taken()
    health.failed(since)
    assert health.livez().status == 503
    health.taken()
    health.updated()
    assert health.livez().status == 200


def test_a_failing_sync_keeps_the_oldest_change_waiting():
    health, clock = made()
    health.updated()
    health.queued()
    since = health.taken()
    clock.now += TIMEOUT / 2
    health.queued()
    health.failed(since)
    clock.now += TIMEOUT / 2 + 1
    assert health.livez().status == 503


def test_a_leaving_node_is_alive_but_not_eligible():
    health, _ = made()
    health.updated()
    health.eligible = False
    assert (health.healthz().status, health.livez().status) == (503, 200)
    assert health.healthz().body["nodeEligible"] is False
    assert set(health.healthz().body) == {"lastUpdated", "currentTime", "nodeEligible"}
