"""Lets a CRI runtime pull images before a Pod asks for them, such as those that a user loaded.

A Pod whose policy is Never then finds them, and the node lists them.
"""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from control.runtime.base import ContainerRuntimeError, Credentials
from control.runtime.cri.calls import Calls
from control.runtime.cri.endpoint import socket_path
from control.runtime.cri.images import Images
from control.runtime.cri.v1 import api_pb2 as pb
from control.runtime.images import names

logger = logging.getLogger(__name__)

_PERIOD = 1.0  # seconds between two looks at a folder's names


class Puller(Protocol):
    """What pulls images into a runtime."""

    async def pull(
        self, reference: str, credentials: Credentials | None, pod: pb.PodSandboxConfig
    ) -> object:
        """Pull an image; raises ContainerRuntimeError."""


async def preload(endpoint: str, folder: Path, always: Sequence[str]) -> None:
    """Pull for ever what a store has under new names or with new contents, and ``always``.

    Raises EndpointError. What cannot be pulled now is tried again with the next look.
    """
    images = Images(Calls(socket_path(endpoint)))
    done: dict[str, str] = {}
    said: dict[str, str] = {}
    while True:
        await pull(images, [*((name, "") for name in always), *_contents(folder)], done, said)
        await asyncio.sleep(_PERIOD)


def _contents(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield each name of a store, and where its link leads."""
    for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
        with suppress(FileNotFoundError):  # it has just been removed
            if entry.is_symlink():
                yield names.from_folder(entry.name), str(entry.readlink())


async def pull(
    images: Puller, wanted: Sequence[tuple[str, str]], done: dict[str, str], said: dict[str, str]
) -> None:
    """Pull each (name, content) that is not ``done``; what fails does not keep the others.

    ``said`` has the last failure of each name: one is logged once, not at every try.
    """
    for name, content in wanted:
        if done.get(name) == content:
            continue
        try:
            await images.pull(name, None, pb.PodSandboxConfig())
        except ContainerRuntimeError as err:  # such as a runtime that is just starting
            if said.get(name) != str(err):
                logger.warning("image %s: %s; trying again every second", name, err)
            said[name] = str(err)
        else:
            done[name] = content
            said.pop(name, None)
            logger.info("image %s is in the runtime", name)
