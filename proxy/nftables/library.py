"""libnftables in this process: a transaction costs no process."""

import ctypes

from proxy.errors import KernelRefused

_BIG = 500_000  # characters. Parsed, a big load takes some 80 MB, which glibc would keep


class Library:
    """One context of libnftables. Called from one thread at a time; commands act in that thread's
    network namespace.
    """

    def __init__(self) -> None:
        self._nft = _load()
        self._libc = ctypes.CDLL(None)
        self._context = self._nft.nft_ctx_new(0)
        if not self._context:
            raise KernelRefused("libnftables cannot be started")
        self._nft.nft_ctx_buffer_error(self._context)

    def commit(self, text: str) -> None:
        """One transaction; raises KernelRefused, and then nothing of it has happened."""
        failed = self._nft.nft_run_cmd_from_buffer(self._context, text.encode())
        if len(text) > _BIG:
            self._libc.malloc_trim(0)
        if failed:
            said = self._nft.nft_ctx_get_error_buffer(self._context) or b""
            raise KernelRefused(f"nft: {said.decode(errors='replace').strip()[:500]}")


def _load() -> ctypes.CDLL:
    try:
        nft = ctypes.CDLL("libnftables.so.1")
    except OSError as err:
        raise KernelRefused(f"{err}; install libnftables1") from err
    nft.nft_ctx_new.restype = ctypes.c_void_p
    nft.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
    nft.nft_ctx_get_error_buffer.argtypes = [ctypes.c_void_p]
    nft.nft_ctx_buffer_error.argtypes = [ctypes.c_void_p]
    nft.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    return nft
