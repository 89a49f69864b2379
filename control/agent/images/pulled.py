"""What was pulled on this node, and with whose credentials: who may use it without a pull.

    ROOT/image_pulls.json    {"intents": {IMAGE: true}, "images": {ID: {REPOSITORY: GRANT}}}

An image that was there before the agent, or was imported, is everybody's. One that was pulled with
a Secret may be used by Pods that have this Secret or the same credentials; any other Pod has to
pull it, so that the registry decides. An intent is written before each pull: after a crash during
one the image counts as pulled, by nobody knows whom.

Source: KEP-2535, pkg/kubelet/images/pullmanager (the policy NeverVerifyPreloadedImages)
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from control.agent.images.keyring import Login, SecretRef
from control.linux.checkpoint import Change, Checkpoint

_INTENTS, _IMAGES = "intents", "images"
_MOST_SECRETS = 100  # of one image; the oldest go first


class PulledImages:
    """The record of pulls."""

    def __init__(self, file: Path) -> None:
        self._file = Checkpoint(file, _INTENTS, _IMAGES)
        self._intents = self._file.section(_INTENTS)
        self._images = self._file.section(_IMAGES)
        self._pulls: dict[str, int] = {}  # ID -> how many pulls there were when it was pulled last
        self._count = 0

    def intend(self, image: str) -> bool:
        """Note that an image is about to be pulled; False if that was noted already.

        Raises OSError.
        """
        if image in self._intents:
            return False
        try:
            self._file.write([(_INTENTS, image, True)])
        except OSError:
            self._intents.pop(image, None)  # the next pull has to write it
            raise
        return True

    def failed(self, image: str) -> None:
        """Note that a pull has brought nothing; raises OSError."""
        self._file.write([(_INTENTS, image, None)])

    def pulled(self, image: str, repository: str, image_id: str, login: Login | None) -> None:
        """Note that an image was pulled, with which credentials; raises OSError."""
        self._count += 1
        self._pulls[image_id] = self._count
        known = self._images.get(image_id, {})
        grant = known.get(repository, {"secrets": []})
        if login is None or login.secret is None:
            granted = {**grant, "node": True}
        else:
            granted = _granted(grant, login)
        changes: list[Change] = []
        if granted != known.get(repository):
            changes.append((_IMAGES, image_id, {**known, repository: granted}))
        self._file.write([*changes, (_INTENTS, image, None)])

    def may_use(
        self, image: str, repository: str, image_id: str, logins: Callable[[], Iterable[Login]]
    ) -> bool:
        """True if a Pod may use an image that is here; raises OSError.

        ``logins`` returns the Pod's credentials, if they matter.
        """
        known = self._images.get(image_id)
        if known is None:
            return image not in self._intents
        grant = known.get(repository, {})
        if grant.get("node"):
            return True
        granted = [(it["hash"], _ref(it)) for it in grant.get("secrets", ())]
        for login in logins() if granted else ():
            hashes = [mark for mark, ref in granted if mark == login.hash or ref == login.secret]
            if login.secret is not None and hashes:
                if (login.hash, login.secret) not in granted:
                    anew = {**known, repository: _granted(grant, login)}
                    self._file.write([(_IMAGES, image_id, anew)])
                return True
        return False

    def mark(self) -> int:
        """Return the present moment, for the list of images that is about to be asked for."""
        return self._count

    def keep(self, image_ids: frozenset[str], mark: int) -> None:
        """Forget the images that the runtime has no more; raises OSError.

        One that was pulled since ``mark`` stays: forgotten, it would be everybody's.
        """
        gone = {it for it in self._images.keys() - image_ids if self._pulls.get(it, 0) <= mark}
        for image_id in gone:
            self._pulls.pop(image_id, None)
        if gone:
            self._file.write((_IMAGES, image_id, None) for image_id in gone)


def _granted(grant: dict[str, Any], login: Login) -> dict[str, Any]:
    """Return a grant with a Secret, with the hash of its credentials in place of an older one."""
    secret = login.secret
    assert secret is not None  # noqa: S101  both callers have looked
    kept = [it for it in grant["secrets"] if _ref(it) != secret]
    entry = {"namespace": secret.namespace, "name": secret.name, "uid": secret.uid}
    return {**grant, "secrets": [*kept, {**entry, "hash": login.hash}][-_MOST_SECRETS:]}


def _ref(entry: dict[str, str]) -> SecretRef:
    return SecretRef(entry["namespace"], entry["name"], entry["uid"])
