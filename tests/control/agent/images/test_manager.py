"""Images of containers: pull or not, as whom, how often; and what Events and reasons say."""

import json

import pytest

from control.agent.images.keyring import JSON_KEY, JSON_TYPE, PullSecret, SecretRef
from control.agent.images.manager import ImageError, ImageManager, Wanted, duration
from control.runtime.base import ContainerRuntimeError, StoredImage

IMAGE = "example.com/app:1"
PULLED = f'Container image "{IMAGE}" already present on machine and can be accessed by the pod'


class FakeImages:
    """A runtime's images, and a registry with one of them, which asks for a user perhaps."""

    pulls = True

    def __init__(self):
        self.here, self.asked, self.user, self.down = {}, [], "", ""

    async def image(self, reference):
        if self.down == "runtime":
            raise ContainerRuntimeError("nobody listens on the socket")
        return self.here.get(reference)

    async def pull_image(self, reference, sandbox_id, credentials):
        user = credentials.user if credentials else ""
        self.asked.append(user)
        if self.down:
            raise ContainerRuntimeError(self.down)
        if user != self.user:
            raise ContainerRuntimeError(f"user {user!r} is refused")
        self.here[reference] = StoredImage((reference,), 1234, "sha256:1")
        return self.here[reference]


def secret(user, name="pull", uid="u1"):
    data = json.dumps({"auths": {"example.com": {"username": user, "password": "p"}}})
    return PullSecret(SecretRef("default", name, uid), JSON_TYPE, {JSON_KEY: data.encode()})


@pytest.fixture
def runtime():
    return FakeImages()


class Node:
    """An image manager with a clock, and the Events that it has recorded."""

    def __init__(self, runtime, root):
        self.runtime, self.root, self.now, self.events = runtime, root, 1000.0, []
        self.restart()

    def restart(self):
        self.manager = ImageManager(self.runtime, self.root, lambda: self.now)

    async def ensure(self, *secrets, image=IMAGE, policy="IfNotPresent", uid="pod-1"):
        """Return the reason of the refusal, if there is one, and its message."""
        wanted = Wanted(uid, "box", image, policy, secrets)
        try:
            await self.manager.ensure(wanted, lambda *event: self.events.append(event))
        except ImageError as err:
            return err.reason, str(err)
        return None

    def said(self):
        """Return the Events since the last call."""
        events, self.events = self.events, []
        return events


@pytest.fixture
def node(runtime, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return Node(runtime, tmp_path)


async def test_an_absent_image_is_pulled_once(node, runtime):
    assert await node.ensure() is None
    first, second = node.said()
    assert first == ("Normal", "Pulling", f'Pulling image "{IMAGE}"')
    assert second[:2] == ("Normal", "Pulled")
    assert second[2].startswith(f'Successfully pulled image "{IMAGE}" in ')
    assert second[2].endswith(" including waiting). Image size: 1234 bytes.")
    assert await node.ensure() is None
    assert node.said() == [("Normal", "Pulled", PULLED)]
    assert runtime.asked == [""]


async def test_always_asks_the_registry_each_time(node, runtime):
    for _ in range(2):
        assert await node.ensure(policy="Always") is None
    assert runtime.asked == ["", ""]


async def test_always_is_if_not_present_for_a_runtime_that_does_not_pull(node, runtime):
    runtime.pulls = False
    runtime.here[IMAGE] = StoredImage((IMAGE,), 1, "sha256:1")
    assert await node.ensure(policy="Always") is None
    assert runtime.asked == []


async def test_never(node, runtime):
    text = f'Container image "{IMAGE}" is not present with pull policy of Never'
    assert await node.ensure(policy="Never") == ("ErrImageNeverPull", text)
    assert node.said() == [("Warning", "ErrImageNeverPull", text)]
    assert runtime.asked == []


async def test_a_failed_pull_waits_longer_each_time(node, runtime):
    runtime.down = "no such host"
    for delay in (10, 20, 40, 80, 160, 300, 300):
        assert await node.ensure() == ("ErrImagePull", "no such host")
        text = f'Failed to pull image "{IMAGE}": no such host'
        assert node.said()[-1] == ("Warning", "Failed", text)
        asked = len(runtime.asked)
        node.now += delay - 1
        short = f'Back-off pulling image "{IMAGE}"'
        why = ("ImagePullBackOff", f"{short}: ErrImagePull: no such host")
        assert await node.ensure() == why
        assert node.said() == [("Normal", "BackOff", short)]
        assert len(runtime.asked) == asked
        assert await node.ensure(uid="pod-2", policy="Never") is not None  # its own count
        node.said()
        node.now += 1
    runtime.down = ""
    assert await node.ensure() is None


async def test_an_image_that_is_imported_meanwhile_does_not_wait(node, runtime):
    runtime.down = "no such host"
    await node.ensure()
    runtime.here[IMAGE] = StoredImage((IMAGE,), 1, "sha256:1")
    assert await node.ensure() is None


async def test_after_ten_minutes_the_count_starts_again(node, runtime):
    runtime.down = "no such host"
    for _ in range(3):
        await node.ensure()
        node.now += 100
    node.now += 601
    assert (await node.ensure())[0] == "ErrImagePull"
    node.now += 11
    assert (await node.ensure())[0] == "ErrImagePull"


async def test_each_login_is_tried(node, runtime):
    runtime.user = "ann"
    assert await node.ensure(secret("bob"), secret("ann", "other", "u2")) is None
    assert runtime.asked == ["bob", "ann"]
    node.said()
    refused = "[user 'bob' is refused, user 'eve' is refused]"
    assert await node.ensure(secret("bob"), secret("eve", "e", "u3"), uid="pod-2") == (
        "ErrImagePull",
        refused,
    )


async def test_another_pod_must_show_credentials_too(node, runtime):
    runtime.user = "ann"
    assert await node.ensure(secret("ann")) is None
    node.restart()
    assert (await node.ensure(uid="pod-2"))[0] == "ErrImagePull"
    assert (await node.ensure(uid="pod-3", policy="Never"))[0] == "ErrImageNeverPull"
    assert (await node.ensure(secret("bob", uid="u9"), uid="pod-4"))[0] == "ErrImagePull"
    before = len(runtime.asked)
    assert await node.ensure(secret("ann", "same-user", "u2"), uid="pod-5") is None
    assert await node.ensure(secret("new-user"), uid="pod-6") is None  # the same Secret, changed
    assert len(runtime.asked) == before


async def test_an_image_that_was_imported_is_everybodys(node, runtime):
    runtime.user = "ann"
    runtime.here[IMAGE] = StoredImage((IMAGE,), 1, "sha256:1")
    assert await node.ensure(policy="Never") is None


async def test_a_pull_that_was_cut_short_is_checked_again(node, runtime):
    runtime.user = "ann"
    node.manager.pulled.intend(IMAGE)  # as an agent that is killed then
    runtime.here[IMAGE] = StoredImage((IMAGE,), 1, "sha256:1")
    node.restart()
    assert (await node.ensure())[0] == "ErrImagePull"
    node.restart()
    assert (await node.ensure(policy="Never", uid="pod-2"))[0] == "ErrImageNeverPull"


async def test_the_nodes_own_login_is_for_every_pod(node, runtime):
    runtime.user = "ann"
    data = {"auths": {"https://example.com/v2/": {"username": "ann", "password": "p"}}}
    (node.root / "config.json").write_text(json.dumps(data))
    assert await node.ensure() is None
    (node.root / "config.json").unlink()
    assert await node.ensure(uid="pod-2") is None
    assert runtime.asked == ["ann"]


async def test_a_secret_that_is_not_valid(node):
    bad = PullSecret(SecretRef("default", "pull", "u"), JSON_TYPE, {JSON_KEY: b"{"})
    reason, text = await node.ensure(bad)
    assert reason == "ErrImagePull"
    assert "Secret default/pull, key .dockerconfigjson" in text


async def test_a_name_that_is_none(node):
    reason, _ = await node.ensure(image="Not A Name")
    assert reason == "InvalidImageName"
    assert node.said()[0][:2] == ("Warning", "InspectFailed")


async def test_a_runtime_that_is_down(node, runtime):
    runtime.down = "runtime"
    reason, text = await node.ensure()
    assert reason == "ImageInspectError" and "nobody listens" in text


@pytest.mark.parametrize("reason", ["RegistryUnavailable", "SignatureValidationFailed"])
async def test_what_a_runtime_says_for_the_kubelet(node, runtime, reason):
    runtime.down = f"{reason}: more"
    found, text = await node.ensure()
    assert found == reason
    assert text.startswith(f"image pull failed for {IMAGE} because the ")
    assert text.endswith(": more")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"), (0.0349, "34ms"), (1.5, "1.5s"), (2, "2s"), (62.25, "1m2.25s"),
        (3600, "1h0m0s"),
    ],
)  # fmt: skip
def test_durations_are_written_as_in_go(seconds, text):
    assert duration(seconds) == text
