"""Finds or pulls the image of a container, with kubelet's Events and reasons.

Source: k8s.io/kubernetes/pkg/kubelet/images/image_manager.go, kuberuntime/kuberuntime_image.go
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from control.agent.images.backoff import PullBackoff
from control.agent.images.keyring import Keyring, KeyringError, Login, PullSecret, lookup
from control.agent.images.pulled import PulledImages
from control.runtime.base import ContainerRuntimeError, Credentials, StoredImage
from control.runtime.images.names import ImageNameError, complaint, normalize

NEVER = "ErrImageNeverPull"
_ALWAYS, _IF_ABSENT = "Always", "IfNotPresent"
# What a runtime says for the kubelet at the beginning of its text (cri-api, pkg/errors).
_SPECIAL = {
    "RegistryUnavailable": "the registry is unavailable",
    "SignatureValidationFailed": "the signature validation failed",
}
_HOME_FILES = (".docker/config.json", ".dockercfg")


class ImageError(ContainerRuntimeError):
    """A container has no image yet; ``reason`` is the one that its status shows."""


class ImageRuntime(Protocol):
    """The calls of a runtime that are about images; see ``control.runtime.base.Runtime``."""

    pulls: bool

    async def image(self, reference: str) -> StoredImage | None:
        """Return an image that the runtime has; None if it has not."""

    async def pull_image(
        self, reference: str, sandbox_id: str, credentials: Credentials | None, /
    ) -> StoredImage:
        """Pull an image."""


class Note(Protocol):
    """Records an Event about a container."""

    def __call__(self, kind: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        """The arguments are an Event's."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The image that a container needs."""

    uid: str  # of its Pod
    sandbox_id: str
    image: str  # as the Pod names it
    policy: str
    secrets: tuple[PullSecret, ...] = ()


class ImageManager:
    """Finds or pulls images, one pull after the other, as kubelet by default."""

    def __init__(
        self, runtime: ImageRuntime, root: Path, clock: Callable[[], float] = time.time
    ) -> None:
        self._runtime, self._clock = runtime, clock
        self._logins_of_node = _files_of_node(root)
        self.pulled = PulledImages(root / "image_pulls.json")
        self._backoff = PullBackoff()
        self._one = asyncio.Lock()

    async def ensure(self, wanted: Wanted, note: Note) -> None:
        """Return when the runtime has the image, and the Pod may use it; raises ImageError."""
        try:
            full = normalize(wanted.image)
        except ImageNameError as err:
            text = complaint(wanted.image, err)
            note("Warning", "InspectFailed", text)
            raise ImageError(text, "InvalidImageName") from err
        policy = wanted.policy
        if policy == _ALWAYS and not self._runtime.pulls:
            policy = _IF_ABSENT
        found = None if policy == _ALWAYS else await self._inspect(wanted, note)
        if found is not None and self._may_use(wanted, full, found):
            text = f'Container image "{wanted.image}" already present on machine'
            note("Normal", "Pulled", f"{text} and can be accessed by the pod")
        elif policy == "Never":
            text = f'Container image "{wanted.image}" is not present with pull policy of Never'
            note("Warning", NEVER, text)
            raise ImageError(text, NEVER)
        else:
            await self._pull(wanted, full, note)

    async def _inspect(self, wanted: Wanted, note: Note) -> StoredImage | None:
        try:
            return await self._runtime.image(_tagged(wanted.image))
        except ContainerRuntimeError as err:
            text = f'Failed to inspect image "{wanted.image}": {err}'
            note("Warning", "InspectFailed", text)
            raise ImageError(text, "ImageInspectError") from err

    def _may_use(self, wanted: Wanted, full: str, found: StoredImage) -> bool:
        def logins() -> tuple[Login, ...]:
            return self._logins(wanted, full)

        try:
            return self.pulled.may_use(wanted.image, _repository(full), found.id, logins)
        except OSError:
            return False  # as kubelet: let the registry decide

    def _logins(self, wanted: Wanted, full: str) -> tuple[Login, ...]:
        """Return the credentials for an image: the Pod's, then the node's. Raises ImageError."""
        own = Keyring()
        try:
            for secret in wanted.secrets:
                own.add_secret(secret)
            return lookup(_repository(full), (own, _of_node(self._logins_of_node)))
        except KeyringError as err:
            raise ImageError(f"image {wanted.image}: {err}", "ErrImagePull") from err

    async def _pull(self, wanted: Wanted, full: str, note: Note) -> None:
        key = wanted.uid, wanted.image
        before = self._backoff.waiting(key, self._clock())
        if before is not None:
            text = f'Back-off pulling image "{wanted.image}"'
            note("Normal", "BackOff", text)
            raise ImageError(f"{text}: {before}", "ImagePullBackOff")
        logins = self._logins(wanted, full)
        note("Normal", "Pulling", f'Pulling image "{wanted.image}"')
        began = time.monotonic()
        try:
            async with self._one:
                begun = time.monotonic()
                image = await self._noted_pull(wanted, full, logins)
                took = time.monotonic() - begun
        except (ContainerRuntimeError, OSError) as err:
            note("Warning", "Failed", f'Failed to pull image "{wanted.image}": {err}')
            reason, text = _explained(wanted.image, str(err))
            self._backoff.failed(key, f"{reason}: {text}", self._clock())
            raise ImageError(text, reason) from err
        whole = time.monotonic() - began
        times = f"{duration(took)} ({duration(whole)} including waiting)"
        text = f'Successfully pulled image "{wanted.image}" in {times}.'
        note("Normal", "Pulled", f"{text} Image size: {image.size} bytes.")

    async def _noted_pull(
        self, wanted: Wanted, full: str, logins: tuple[Login, ...]
    ) -> StoredImage:
        """Pull; a pull that is cut short leaves its intent, because it may have brought all."""
        fresh = self.pulled.intend(wanted.image)
        try:
            image, login = await self._try(wanted, logins)
        except ContainerRuntimeError:
            if fresh:
                self.pulled.failed(wanted.image)
            raise
        self.pulled.pulled(wanted.image, _repository(full), image.id, login)
        return image

    async def _try(
        self, wanted: Wanted, logins: tuple[Login, ...]
    ) -> tuple[StoredImage, Login | None]:
        """Pull with one login after the other; without any, as nobody."""
        name, problems = _tagged(wanted.image), []
        for login in logins or (None,):
            credentials = login.credentials if login else None
            try:
                pulled = await self._runtime.pull_image(name, wanted.sandbox_id, credentials)
                return pulled, login
            except ContainerRuntimeError as err:
                problems.append(err)
        texts = list(dict.fromkeys(str(err) for err in problems))
        raise ContainerRuntimeError(texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]")


def _files_of_node(root: Path) -> tuple[tuple[Path, bool], ...]:
    """Return where the node's own credentials may be; True: in the old form."""
    homes = (root, Path.home(), Path("/"))
    new = [root / "config.json", *(home / _HOME_FILES[0] for home in homes[1:])]
    old = [home / _HOME_FILES[1] for home in homes]
    return (*((it, False) for it in new), *((it, True) for it in old))


def _of_node(files: Iterable[tuple[Path, bool]]) -> Keyring:
    """Read the node's own credentials: the first file of kubelet's that is there and valid."""
    for path, old in files:
        keyring = Keyring()
        try:
            keyring.add(path.read_bytes(), str(path), old=old)
        except (OSError, KeyringError):
            continue
        return keyring
    return Keyring()


def _tagged(image: str) -> str:
    """Return an image's name with a tag or digest; a valid short name stays short."""
    last = image.rpartition("/")[2]
    return image if "@" in image or ":" in last else f"{image}:latest"


def _repository(full: str) -> str:
    """Return a full name without its tag or digest."""
    head, _, last = full.partition("@")[0].rpartition("/")
    return f"{head}/{last.partition(':')[0]}"


def _explained(image: str, text: str) -> tuple[str, str]:
    for reason, why in _SPECIAL.items():
        if text.startswith(reason):
            rest = text.removeprefix(reason)
            return reason, f"image pull failed for {image} because {why}{rest}"
    return "ErrImagePull", text


def duration(seconds: float) -> str:
    """Write seconds as Go writes a time.Duration, to milliseconds: 1m2.5s, 350ms, 0s."""
    thousandths = int(seconds * 1000)
    if 0 < thousandths < 1000:
        return f"{thousandths}ms"
    minutes, rest = divmod(thousandths / 1000, 60)
    hours, minutes = divmod(int(minutes), 60)
    text = f"{rest:.3f}".rstrip("0").rstrip(".") + "s"
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + text
