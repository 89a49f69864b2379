"""One value, encrypted and decrypted, in the form that upstream stores.

``k8s:enc:PROVIDER:v1:KEYNAME:`` and then the ciphertext. The key of the value is authenticated with
it (aesgcm), so that nobody can put one Secret's value in another's place. Source:
https://kubernetes.io/docs/tasks/administer-cluster/encrypt-data/,
k8s.io/apiserver/pkg/storage/value/encrypt/aes.
"""

import os
from dataclasses import dataclass
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.padding import PKCS7

_NONCE = 12  # bytes, of AES-GCM
_BLOCK = 16  # bytes, of AES
ENCRYPTED = b"k8s:enc:"  # what every encrypted value begins with


class UndecipherableError(ValueError):
    """A value that no key of the configuration decrypts; the text says which key it names."""


class ValueKey(Protocol):
    """A way to keep values; ``mark`` is what its values begin with."""

    @property
    def mark(self) -> bytes: ...

    def encrypt(self, value: bytes, key: str) -> bytes:
        """Return the value as it is stored below a key."""
        ...

    def decrypt(self, stored: bytes, key: str) -> bytes:
        """Return the value of what was stored; raises ValueError, InvalidTag."""
        ...


@dataclass(frozen=True, slots=True)
class Plain:
    """Upstream's provider ``identity``: values as they are."""

    @property
    def mark(self) -> bytes:
        return b""

    def encrypt(self, value: bytes, key: str) -> bytes:  # noqa: ARG002
        return value

    def decrypt(self, stored: bytes, key: str) -> bytes:  # noqa: ARG002
        return stored


@dataclass(frozen=True, slots=True, repr=False)
class AesGcm:
    """Upstream's provider ``aesgcm``: a nonce, ciphertext, tag. ``secret`` has 16 to 32 bytes.

    At most some 2**32 values may be written with one key: rotate it before.
    """

    name: str
    secret: bytes

    @property
    def mark(self) -> bytes:
        return ENCRYPTED + f"aesgcm:v1:{self.name}:".encode()

    def encrypt(self, value: bytes, key: str) -> bytes:
        nonce = os.urandom(_NONCE)
        return self.mark + nonce + AESGCM(self.secret).encrypt(nonce, value, key.encode())

    def decrypt(self, stored: bytes, key: str) -> bytes:
        body = stored[len(self.mark) :]
        return AESGCM(self.secret).decrypt(body[:_NONCE], body[_NONCE:], key.encode())


@dataclass(frozen=True, slots=True, repr=False)
class AesCbc:
    """Upstream's provider ``aescbc``: an IV and padded ciphertext, which nothing authenticates."""

    name: str
    secret: bytes

    @property
    def mark(self) -> bytes:
        return ENCRYPTED + f"aescbc:v1:{self.name}:".encode()

    def encrypt(self, value: bytes, key: str) -> bytes:  # noqa: ARG002
        vector = os.urandom(_BLOCK)
        padder = PKCS7(8 * _BLOCK).padder()
        padded = padder.update(value) + padder.finalize()
        work = Cipher(algorithms.AES(self.secret), modes.CBC(vector)).encryptor()
        return self.mark + vector + work.update(padded) + work.finalize()

    def decrypt(self, stored: bytes, key: str) -> bytes:  # noqa: ARG002
        body = stored[len(self.mark) :]
        work = Cipher(algorithms.AES(self.secret), modes.CBC(body[:_BLOCK])).decryptor()
        padded = work.update(body[_BLOCK:]) + work.finalize()
        remover = PKCS7(8 * _BLOCK).unpadder()
        return remover.update(padded) + remover.finalize()


def decrypt(keys: tuple[ValueKey, ...], stored: bytes, key: str) -> bytes:
    """Decrypt a value by the key that it names; raises UndecipherableError."""
    for each in keys:
        if each.mark and stored.startswith(each.mark):
            try:
                return each.decrypt(stored, key)
            except (ValueError, InvalidTag) as err:
                what = each.mark.decode()
                raise UndecipherableError(f"its key {what} does not decrypt it") from err
    if stored.startswith(ENCRYPTED):
        named = b":".join(stored.split(b":", 5)[:5]).decode(errors="replace")
        raise UndecipherableError(f"no key {named}: is in the encryption configuration")
    return stored
