"""Probes against real servers: gRPC here; the other kinds run in tests/netns/node/agent."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc.aio
import pytest
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from control.agent.pods import grpc_health
from control.agent.pods.probes import Prober, ProbeResult, ProbeTarget
from control.api.container import Container, Probe

HOST = "127.0.0.1"
SERVES = {"": 1, "web": 1, "sick": 2, "away": 0}


class Health(grpc.GenericRpcHandler):
    """The health service."""

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if details.method != "/grpc.health.v1.Health/Check":
            return None
        return grpc.unary_unary_rpc_method_handler(
            self._check,
            HealthCheckRequest.FromString,
            HealthCheckResponse.SerializeToString,
        )

    async def _check(self, request: HealthCheckRequest, context: grpc.aio.ServicerContext):
        if request.service not in SERVES:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return HealthCheckResponse(status=SERVES[request.service])


@asynccontextmanager
async def served(*handlers: grpc.GenericRpcHandler) -> AsyncIterator[int]:
    server = grpc.aio.server(handlers=handlers)
    port = server.add_insecure_port(f"{HOST}:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


async def probe(port: int, service: str | None) -> tuple[ProbeResult, str]:
    handler = Probe.parse({"grpc": {"port": port, "service": service}})
    target = ProbeTarget("id", Container(name="c"), HOST)
    return await Prober(None, None).run(target, handler, 5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("service", "result", "why"),
    [
        (None, ProbeResult.SUCCESS, ""),
        ("web", ProbeResult.SUCCESS, ""),
        ("sick", ProbeResult.FAILURE, 'service unhealthy (responded with "NOT_SERVING")'),
        ("away", ProbeResult.FAILURE, 'service unhealthy (responded with "UNKNOWN")'),
        ("none", ProbeResult.FAILURE, "error: health rpc probe failed: NOT_FOUND: unknown service"),
    ],
)
async def test_grpc_serving_is_success(service, result, why):
    async with served(Health()) as port:
        assert await probe(port, service) == (result, why)


async def test_a_server_without_the_health_service_fails():
    async with served() as port:
        result, why = await probe(port, "web")
    assert result is ProbeResult.FAILURE
    assert why.startswith("error: this server does not implement the grpc health protocol")


async def test_nobody_listens():
    with socket.create_server((HOST, 0)) as free:
        port = free.getsockname()[1]
    result, why = await probe(port, None)
    assert result is ProbeResult.FAILURE
    assert why.startswith(f'error: failed to connect service at "{HOST}:{port}"')


async def test_a_server_that_never_answers():
    with socket.create_server((HOST, 0)) as silent:
        why = await grpc_health.check(HOST, silent.getsockname()[1], "", 0.2)
    assert why == "timeout: health rpc did not complete within 0.2s"
