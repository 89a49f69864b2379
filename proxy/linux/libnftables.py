"""libnftables in this process: a transaction costs no process."""

import ctypes
from functools import cached_property

from proxy.linux.memory import give_back
from proxy.model.errors import KernelRefusedError

_BIG = 500_000  # characters. Parsed, a big load takes some 80 MB


class Libnftables:
    """One context of libnftables, opened when it is first needed: who has nothing to commit need
    not have it. Called from one thread at a time; commands act in that thread's network namespace.
    """

    def commit(self, text: str) -> None:
        """One transaction; raises KernelRefusedError, and then nothing of it has happened."""
        failed = self._nft.nft_run_cmd_from_buffer(self._context, text.encode())
        if len(text) > _BIG:
            give_back()
        if failed:
            said = self._nft.nft_ctx_get_error_buffer(self._context) or b""
            raise KernelRefusedError(f"nft: {said.decode(errors='replace').strip()[:500]}")

    @cached_property
    def _nft(self) -> ctypes.CDLL:
        try:
            nft = ctypes.CDLL("libnftables.so.1")
        except OSError as err:
            raise KernelRefusedError(f"{err}; install libnftables1") from err
        nft.nft_ctx_new.restype = ctypes.c_void_p
        nft.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
        nft.nft_ctx_get_error_buffer.argtypes = [ctypes.c_void_p]
        nft.nft_ctx_buffer_error.argtypes = [ctypes.c_void_p]
        nft.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        return nft

    @cached_property
    def _context(self) -> int:
        context = self._nft.nft_ctx_new(0)
        if not context:
            raise KernelRefusedError("libnftables cannot be started")
        self._nft.nft_ctx_buffer_error(context)
        return int(context)
