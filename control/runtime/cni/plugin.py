"""Executes one CNI plugin.

Source: CNI SPEC.md 1.1.0, section 2, and pkg/invoke of libcni (retries of "text file busy").
"""

import asyncio
import errno
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

_BUSY_TRIES = 6  # while a plugin is replaced in place; libcni waits a second each time
_MOST_OUTPUT = 4 * 1024 * 1024


class PluginError(Exception):
    """A plugin failed (``code`` is the CNI error code), or could not be run (``code`` is 0)."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Attachment:
    """One interface of one container."""

    container_id: str
    netns: str  # on DEL empty if the namespace is gone
    ifname: str = "eth0"
    args: tuple[tuple[str, str], ...] = ()


class Plugins:
    """The plugin executables of a node."""

    def __init__(self, folders: tuple[Path, ...], seconds: float = 60) -> None:
        self._folders, self._seconds = folders, seconds

    async def call(
        self, verb: str, config: Mapping[str, Any], attachment: Attachment | None = None
    ) -> dict[str, Any]:
        """Run the plugin of type ``config["type"]``; return its result. Raises PluginError."""
        name = str(config["type"])
        binary = self._find(name)
        try:
            code, output, errors = await self._execute(
                binary, self._environment(verb, attachment), json.dumps(config).encode()
            )
        except TimeoutError:
            raise PluginError(f"{name} {verb}: no answer after {self._seconds:g} s") from None
        except OSError as err:
            raise PluginError(f"{name} {verb}: cannot run {binary}: {err.strerror}") from err
        for line in errors.decode(errors="replace").splitlines():
            logger.log(logging.WARNING if code else logging.DEBUG, "%s %s: %s", name, verb, line)
        if code:
            raise _error(name, verb, code, output, errors)
        return _result(name, verb, output)

    def _find(self, name: str) -> str:
        for folder in self._folders:
            path = folder / name
            if path.is_file():
                return str(path)
        places = ":".join(str(folder) for folder in self._folders)
        raise PluginError(f'failed to find plugin "{name}" in path [{places}]')

    def _environment(self, verb: str, attachment: Attachment | None) -> dict[str, str]:
        values = {
            "PATH": os.environ.get("PATH", os.defpath),
            "CNI_COMMAND": verb,
            "CNI_PATH": ":".join(str(folder) for folder in self._folders),
        }
        if attachment is not None:
            values |= {
                "CNI_CONTAINERID": attachment.container_id,
                "CNI_NETNS": attachment.netns,
                "CNI_IFNAME": attachment.ifname,
                "CNI_ARGS": ";".join(f"{key}={value}" for key, value in attachment.args),
            }
        return values

    async def _execute(
        self, binary: str, environment: dict[str, str], stdin: bytes
    ) -> tuple[int, bytes, bytes]:
        process = await self._start(binary, environment)
        try:
            async with asyncio.timeout(self._seconds):
                output, errors = await process.communicate(stdin)
        except BaseException:
            process.kill()
            await process.wait()
            raise
        return process.returncode or 0, output[:_MOST_OUTPUT], errors[:_MOST_OUTPUT]

    async def _start(self, binary: str, environment: dict[str, str]) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        for left in range(_BUSY_TRIES, -1, -1):
            try:
                return await asyncio.create_subprocess_exec(
                    binary, env=environment, stdin=pipe, stdout=pipe, stderr=pipe
                )
            except OSError as err:
                if err.errno != errno.ETXTBSY or not left:
                    raise
                await asyncio.sleep(1)
        raise AssertionError("unreachable")


def _result(name: str, verb: str, output: bytes) -> dict[str, Any]:
    if not output.strip():
        if verb == "ADD":
            raise PluginError(f"{name} ADD: the plugin printed no result")
        return {}
    try:
        value = json.loads(output)
    except ValueError as err:
        raise PluginError(f"{name} {verb}: the plugin's result is not JSON: {err}") from err
    if not isinstance(value, dict):
        raise PluginError(f"{name} {verb}: the plugin's result is not a JSON object")
    return value


def _error(name: str, verb: str, code: int, output: bytes, errors: bytes) -> PluginError:
    """Parse an error (SPEC section 5); a plugin that died has printed none on stdout."""
    try:
        value = json.loads(output)
        number, text = int(value["code"]), str(value["msg"])
    except (ValueError, KeyError, TypeError):
        text = " ".join(errors.decode(errors="replace").split())[:500]
        end = f"exit code {code}" if code > 0 else f"signal {-code}"
        return PluginError(f"{name} {verb}: it failed with {end}: {text or 'no output'}")
    details = f"; {value['details']}" if value.get("details") else ""
    return PluginError(f'plugin type="{name}" failed ({verb.lower()}): {text}{details}', number)
