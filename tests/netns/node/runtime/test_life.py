"""The life of sandboxes and containers: what every runtime does, also one that runs nothing."""

from ipaddress import ip_address, ip_network

import pytest

from control.runtime.base import ContainerRuntimeError, Phase
from tests.support.control.containers import config, run, sandbox, view

ALL = ["builtin", "containerd", "hollow"]
pytestmark = pytest.mark.parametrize("maker", ALL, indirect=True)


async def test_a_container_is_created_runs_and_ends(runtime, folder):
    box = await runtime.run_sandbox(sandbox(folder))
    made = await runtime.create_container(box.id, config("sleep", "60", spec_hash="h"))
    assert (view(runtime, made).phase, view(runtime, made).started) == (Phase.CREATED, 0)
    await runtime.start_container(made)
    runs = view(runtime, made)
    assert runs.phase is Phase.RUNNING and runs.started >= runs.created > 0
    assert (runs.sandbox_id, runs.pod, runs.name) == (box.id, box.pod, "main")
    assert (runs.attempt, runs.spec_hash, runs.image) == (0, "h", "podwire/tools")
    await runtime.stop_container(made, 0)
    done = view(runtime, made)
    assert (done.phase, done.exit_code, done.reason) == (Phase.EXITED, 137, "Error")
    assert done.finished >= done.started


async def test_a_sandbox_is_ready_with_an_address_until_it_is_stopped(runtime, folder):
    box = await runtime.run_sandbox(sandbox(folder))
    assert runtime.observe().sandboxes == (box,)
    assert box.ready and ip_address(box.addresses[0]) in ip_network("10.1.2.0/24")
    assert runtime.sandbox_ids() == {box.id}
    await runtime.stop_sandbox(box.id)
    assert [it.ready for it in runtime.observe().sandboxes] == [False]
    with pytest.raises(ContainerRuntimeError):
        await runtime.start_container(await runtime.create_container(box.id, config("true")))


async def test_a_sandbox_takes_its_containers_along(runtime, folder):
    container = await run(runtime, folder, "sleep", "60")
    await runtime.remove_sandbox(view(runtime, container).sandbox_id)
    state = runtime.observe()
    assert (state.sandboxes, state.containers, runtime.sandbox_ids()) == ((), (), frozenset())


async def test_every_removal_may_be_asked_twice(runtime, folder):
    container = await run(runtime, folder, "sleep", "60")
    box = view(runtime, container).sandbox_id
    for _ in range(2):
        await runtime.stop_container(container, 0)
    for _ in range(2):
        await runtime.remove_container(container)
    assert runtime.observe().containers == ()
    for _ in range(2):
        await runtime.stop_sandbox(box)
    for _ in range(2):
        await runtime.remove_sandbox(box)


async def test_a_container_needs_an_image_that_is_here(runtime, folder):
    box = await runtime.run_sandbox(sandbox(folder))
    with pytest.raises(ContainerRuntimeError):
        await runtime.create_container(box.id, config("true", image="podwire.test/absent:1"))
    assert runtime.observe().containers == ()


async def test_images_are_found_and_listed(runtime, folder):
    found = await runtime.image("podwire/tools:latest")
    assert found is not None and found.id
    (same,) = [it for it in await runtime.images() if it.id == found.id]
    assert "docker.io/podwire/tools:latest" in same.names and same.size > 0
    assert await runtime.image("podwire.test/absent:1") is None
    assert view(runtime, await run(runtime, folder, "sleep", "60")).image_id == found.id


async def test_the_images_disk_is_known(runtime):
    disk = await runtime.image_disk()
    assert 0 < disk.available <= disk.capacity


async def test_an_unknown_container_cannot_start(runtime):
    with pytest.raises(ContainerRuntimeError):
        await runtime.start_container("none")


async def test_a_handler_that_is_not_there_is_refused(runtime, folder):
    with pytest.raises(ContainerRuntimeError) as caught:
        await runtime.run_sandbox(sandbox(folder, handler="gvisor"))
    assert 'failed to get sandbox runtime: no runtime for "gvisor" is configured' in str(
        caught.value
    )
    assert runtime.observe().sandboxes == ()
    known = {"containerd": "runc"}.get(runtime.name, runtime.name)
    assert (await runtime.run_sandbox(sandbox(folder, handler=known))).ready
