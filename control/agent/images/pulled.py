"""What was pulled on this node, and with whose credentials: who may use it without a pull.

    ROOT/image_pulls.json    {"intents": [IMAGE], "images": {ID: {REPOSITORY: GRANT}}}

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
from control.linux import files

_MOST_SECRETS = 100  # of one image; the oldest go first


class PulledImages:
    """The record of pulls."""

    def __init__(self, file: Path) -> None:
        self._file = file
        saved = files.read_json(file) or {}
        self._intents: set[str] = {str(it) for it in saved.get("intents") or ()}
        self._images: dict[str, Any] = dict(saved.get("images") or {})
        self._pulls: dict[str, int] = {}  # ID -> how many pulls there were when it was pulled last
        self._count = 0

    def intend(self, image: str) -> bool:
        """Note that an image is about to be pulled; False if that was noted already.

        Raises OSError.
        """
        if image in self._intents:
            return False
        self._intents.add(image)
        try:
            self._save()
        except OSError:
            self._intents.discard(image)  # the next pull has to write it
            raise
        return True

    def failed(self, image: str) -> None:
        """Note that a pull has brought nothing; raises OSError."""
        self._intents.discard(image)
        self._save()

    def pulled(self, image: str, repository: str, image_id: str, login: Login | None) -> None:
        """Note that an image was pulled, with which credentials; raises OSError."""
        self._intents.discard(image)
        self._count += 1
        self._pulls[image_id] = self._count
        grant = self._images.setdefault(image_id, {}).setdefault(repository, {"secrets": []})
        if login is None or login.secret is None:
            grant["node"] = True
        else:
            _grant(grant, login)
        self._save()

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
                    _grant(grant, login)
                    self._save()
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
            del self._images[image_id]
            self._pulls.pop(image_id, None)
        if gone:
            self._save()

    def _save(self) -> None:
        files.write_json(self._file, {"intents": sorted(self._intents), "images": self._images})


def _grant(grant: dict[str, Any], login: Login) -> None:
    """Add a Secret, with the hash of its credentials, in place of an older hash."""
    secret = login.secret
    assert secret is not None  # noqa: S101  both callers have looked
    kept = [it for it in grant["secrets"] if _ref(it) != secret]
    entry = {"namespace": secret.namespace, "name": secret.name, "uid": secret.uid}
    grant["secrets"] = [*kept, {**entry, "hash": login.hash}][-_MOST_SECRETS:]


def _ref(entry: dict[str, str]) -> SecretRef:
    return SecretRef(entry["namespace"], entry["name"], entry["uid"])
