"""libbpf's functions that debugging calls beyond the proxy's (libbpf.h, bpf.h, btf.h)."""

import ctypes

from proxy.backends.ebpf.libbpf import Libbpf

HEAR = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
_POINTER, _WHOLE, _TEXT, _NUMBER = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32


def declared(library: Libbpf) -> ctypes.CDLL:
    """Return the library's functions, with their types."""
    for name, result, types in (
        ("bpf_raw_tracepoint_open", _WHOLE, [_TEXT, _WHOLE]),
        ("ring_buffer__new", _POINTER, [_WHOLE, HEAR, _POINTER, _POINTER]),
        ("ring_buffer__free", None, [_POINTER]),
        ("ring_buffer__epoll_fd", _WHOLE, [_POINTER]),
        ("ring_buffer__consume", _WHOLE, [_POINTER]),
        ("btf__load_vmlinux_btf", _POINTER, []),
        ("btf__free", None, [_POINTER]),
        ("btf__find_by_name_kind", _WHOLE, [_POINTER, _TEXT, _NUMBER]),
        ("btf__type_by_id", _POINTER, [_POINTER, _NUMBER]),
        ("btf__name_by_offset", _TEXT, [_POINTER, _NUMBER]),
    ):
        function = getattr(library.bpf, name)
        function.restype, function.argtypes = result, types
    return library.bpf
