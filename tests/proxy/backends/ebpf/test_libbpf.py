"""What is kept of libbpf's warnings."""

import errno

import pytest

from proxy.backends.ebpf.libbpf import Libbpf
from proxy.model.errors import KernelRefusedError


def test_an_error_has_the_end_of_a_long_warning():
    """The verifier's log is such a warning, and its last lines name the fault."""
    library = Libbpf()
    assert not library.bpf.bpf_object__open_file(b"/" + b"x" * 9000, None)
    with pytest.raises(KernelRefusedError, match=r"x: File name too long$") as found:
        library.check(-errno.ENAMETOOLONG, "opening")
    assert len(str(found.value)) < 2000
