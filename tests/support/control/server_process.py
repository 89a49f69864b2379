"""An API server as a process of its own, over TLS."""

import asyncio
import signal
import socket
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import aiohttp

from control.pki import Identity, create_authority, issue
from tests.support.control.sessions import admin_session
from tests.support.parts import program


class Process:
    """A ``podwire apiserver`` in a directory with certificates and a store."""

    def __init__(self, folder: Path, store: str = "") -> None:
        self.folder, self.store = folder, store or f"sqlite:{folder}/store.db"
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        self.running: asyncio.subprocess.Process | None = None
        authority = create_authority("test")
        authority.save(folder, "ca")
        issue(authority, Identity("server", hosts=("127.0.0.1",))).save(folder, "server")
        issue(authority, Identity("admin", ("system:masters",))).save(folder, "admin")

    async def start(self, *more: str) -> None:
        fd = self.listening.fileno()
        files = {"tls-cert": "server.crt", "tls-key": "server.key", "client-ca": "ca.crt"}
        flags = [f"--{flag}={self.folder / name}" for flag, name in files.items()]
        self.running = await asyncio.create_subprocess_exec(
            *program("apiserver"),
            f"--store={self.store}",
            f"--listen-fd={fd}",
            *flags,
            *more,
            pass_fds=[fd],
            stderr=asyncio.subprocess.PIPE,
        )

    async def end(self, number: signal.Signals) -> tuple[int, str]:
        assert self.running is not None
        self.running.send_signal(number)
        _, err = await self.running.communicate()
        code, self.running = self.running.returncode, None
        assert code is not None
        return code, err.decode()

    def session(self, **options: Any) -> AbstractAsyncContextManager[aiohttp.ClientSession]:
        return admin_session(self.folder, f"https://127.0.0.1:{self.port}", **options)
