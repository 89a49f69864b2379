"""libnftables in this process: commits texts, lists tables. A transaction costs no process."""

import ctypes
import ctypes.util

from proxy.errors import KernelRefused

_JSON, _TERSE = 1 << 4, 1 << 11  # nftables/libnftables.h


class Library:
    """One context of libnftables. Called from one thread at a time; commands act in that thread's
    network namespace.
    """

    def __init__(self) -> None:
        self._nft = _load()
        self._context = self._nft.nft_ctx_new(0)
        if not self._context:
            raise KernelRefused("libnftables cannot be started")
        self._nft.nft_ctx_buffer_error(self._context)
        self._nft.nft_ctx_buffer_output(self._context)

    def commit(self, text: str) -> None:
        """One transaction; raises KernelRefused, and then nothing of it has happened."""
        self._run(text, 0)

    def list(self, what: str) -> str:
        """``nft --json --terse list WHAT``; raises KernelRefused."""
        return self._run(f"list {what}", _JSON | _TERSE)

    def _run(self, text: str, flags: int) -> str:
        self._nft.nft_ctx_output_set_flags(self._context, flags)
        failed = self._nft.nft_run_cmd_from_buffer(self._context, text.encode())
        said = self._nft.nft_ctx_get_error_buffer(self._context) or b""
        output = self._nft.nft_ctx_get_output_buffer(self._context) or b""
        if failed:
            raise KernelRefused(f"nft: {said.decode(errors='replace').strip()[:500]}")
        return str(output.decode(errors="replace"))


def _load() -> ctypes.CDLL:
    try:
        nft = ctypes.CDLL("libnftables.so.1")
    except OSError as err:
        raise KernelRefused(f"{err}; install libnftables1") from err
    nft.nft_ctx_new.restype = ctypes.c_void_p
    for name in ("nft_ctx_get_error_buffer", "nft_ctx_get_output_buffer"):
        getattr(nft, name).restype = ctypes.c_char_p
        getattr(nft, name).argtypes = [ctypes.c_void_p]
    for name in ("nft_ctx_buffer_error", "nft_ctx_buffer_output"):
        getattr(nft, name).argtypes = [ctypes.c_void_p]
    nft.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint]
    nft.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    return nft
