"""libnftables, called in this process: a transaction needs no process of its own."""

import ctypes
import threading
from functools import cached_property

from proxy.linux.memory import give_back
from proxy.model.errors import KernelRefusedError

NAME = "libnftables.so.1"
REMEDY = "install libnftables1"
_BIG = 500_000  # characters; the parser takes some 80 MB for a first load
_alone = threading.Lock()  # the library keeps state that its contexts share


class Libnftables:
    """One context of libnftables, opened when it is first needed: without a transaction the library
    need not be installed.

    Call one context from one thread at a time. Several wait for each other. Commands act in the
    calling thread's network namespace.
    """

    def commit(self, text: str) -> None:
        """Commit one transaction.

        Raises KernelRefusedError, and then nothing of it has happened.
        """
        with _alone:
            failed = self._nft.nft_run_cmd_from_buffer(self._context, text.encode())
        if len(text) > _BIG:
            give_back()
        if failed:
            message = self._nft.nft_ctx_get_error_buffer(self._context) or b""
            raise KernelRefusedError(f"nft: {message.decode(errors='replace').strip()[:500]}")

    def close(self) -> None:
        """Close the context, and its socket: the kernel removes the tables that the socket owns."""
        if "_context" in self.__dict__:
            with _alone:
                self._nft.nft_ctx_free(self.__dict__.pop("_context"))

    @cached_property
    def _nft(self) -> ctypes.CDLL:
        try:
            nft = ctypes.CDLL(NAME)
        except OSError as err:
            raise KernelRefusedError(f"nft: {err}; {REMEDY}") from err
        nft.nft_ctx_new.restype = ctypes.c_void_p
        nft.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
        nft.nft_ctx_get_error_buffer.argtypes = [ctypes.c_void_p]
        nft.nft_ctx_free.argtypes = [ctypes.c_void_p]
        nft.nft_ctx_buffer_error.argtypes = [ctypes.c_void_p]
        nft.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        return nft

    @cached_property
    def _context(self) -> int:
        context = self._nft.nft_ctx_new(0)
        if not context:
            raise KernelRefusedError("nft: libnftables has no memory for a context")
        self._nft.nft_ctx_buffer_error(context)
        return int(context)


def can_load() -> bool:
    """Return True if the library is installed."""
    try:
        ctypes.CDLL(NAME)
    except OSError:
        return False
    return True
