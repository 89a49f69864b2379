"""Upstream's EncryptionConfiguration: which resources are encrypted, and by which keys.

Source: https://kubernetes.io/docs/reference/config-api/apiserver-config.v1/#EncryptionConfiguration
"""

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from control.store.base import StoreConfigError
from control.store.encryption.values import AesCbc, AesGcm, Plain, ValueKey

_LONGEST = 1 << 20  # bytes of a file
_SIZES = {"aesgcm": (16, 24, 32), "aescbc": (32,)}  # bytes of a key
_NAME = r"^[^:\x00-\x1f]{1,253}$"  # ":" ends it in a stored value


@dataclass(frozen=True, slots=True)
class Rule:
    """The first key writes, all read; ``prefixes`` are those of the store's keys it is for."""

    prefixes: tuple[str, ...]
    keys: tuple[ValueKey, ...]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class _Key(_Strict):
    name: str = Field(pattern=_NAME)
    secret: str = Field(repr=False)


class _Keys(_Strict):
    keys: list[_Key] = Field(min_length=1, max_length=100)


class _Provider(_Strict):
    aesgcm: _Keys | None = None
    aescbc: _Keys | None = None
    identity: dict[str, Any] | None = Field(default=None, max_length=0)


class _Resources(_Strict):
    resources: list[str] = Field(min_length=1, max_length=1000)
    providers: list[_Provider] = Field(min_length=1, max_length=100)


class _Config(_Strict):
    api_version: Literal["apiserver.config.k8s.io/v1"] = Field(alias="apiVersion")
    kind: Literal["EncryptionConfiguration"]
    resources: list[_Resources] = Field(min_length=1, max_length=1000)


def load(path: Path) -> tuple[Rule, ...]:
    """Read a file; raises StoreConfigError."""
    try:
        text = path.read_bytes()[: _LONGEST + 1]
        if len(text) > _LONGEST:
            raise StoreConfigError(f"{path}: longer than {_LONGEST} bytes")
        found = _Config.model_validate(yaml.load(text, yaml.CSafeLoader))
        return tuple(_rule(each) for each in found.resources)
    except OSError as err:
        raise StoreConfigError(f"{path}: {err.strerror}") from err
    except (yaml.YAMLError, RecursionError) as err:
        raise StoreConfigError(f"{path} is no YAML") from err
    except ValidationError as err:
        first = err.errors(include_input=False, include_context=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise StoreConfigError(f"{path}: {where}: {first['msg']}{_hint(where)}") from err
    except StoreConfigError:
        raise
    except ValueError as err:
        raise StoreConfigError(f"{path}: {err}") from err


def _hint(where: str) -> str:
    if where.endswith((".kms", ".secretbox")):
        return ": podwire has aesgcm, aescbc and identity"
    return ""


def _rule(given: _Resources) -> Rule:
    keys = tuple(key for provider in given.providers for key in _keys(provider))
    return Rule(tuple(_prefix(name) for name in given.resources), keys)


def _keys(given: _Provider) -> Iterator[ValueKey]:
    """Yield the keys of a provider. Raises ValueError unless it is one of the three."""
    chosen = [name for name in ("aesgcm", "aescbc", "identity") if getattr(given, name) is not None]
    if len(chosen) != 1:
        raise ValueError("a provider is one of aesgcm, aescbc and identity: {}")
    if given.identity is not None:
        yield Plain()
    for key in given.aesgcm.keys if given.aesgcm else ():
        yield AesGcm(key.name, _secret("aesgcm", key))
    for key in given.aescbc.keys if given.aescbc else ():
        yield AesCbc(key.name, _secret("aescbc", key))


def _secret(provider: str, key: _Key) -> bytes:
    try:
        found = base64.b64decode(key.secret, validate=True)
    except (binascii.Error, ValueError) as err:
        raise ValueError(f"key {key.name}: its secret is not base64") from err
    if len(found) not in _SIZES[provider]:
        sizes = " or ".join(map(str, _SIZES[provider]))
        raise ValueError(f"key {key.name}: its secret has {len(found)} bytes, want {sizes}")
    return found


def _prefix(resource: str) -> str:
    """Return the prefix of a resource's keys: of ``secrets``, ``deployments.apps``, ``*.*``.

    ``*.`` is every resource of the core group. Raises ValueError.
    """
    plural, dot, group = resource.partition(".")
    if resource == "*.*":
        return "/registry/"
    every = plural == "*" and bool(dot)
    if not plural or "/" in resource or "*" in group or ("*" in plural and not every):
        raise ValueError(f"resource {resource!r}: want such as secrets, widgets.example.com, *.x.y")
    base = f"/registry/{group or 'core'}/"
    return base if every else f"{base}{plural}/"
