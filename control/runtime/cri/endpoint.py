"""Where a CRI runtime listens. It imports no gRPC: every agent reads its flags."""

from pathlib import Path

_SCHEME = "unix://"


class EndpointError(ValueError):
    """An endpoint is no socket of a runtime; the text says a valid form."""


def socket_path(endpoint: str) -> Path:
    """Return the path of an endpoint such as unix:///run/containerd/containerd.sock.

    Raises EndpointError. A bare absolute path is taken too, as by kubelet.
    """
    path = endpoint.removeprefix(_SCHEME)
    if not path.startswith("/") or "\0" in path:
        raise EndpointError(
            f"{endpoint!r} is not an endpoint: want unix:///PATH, such as "
            "unix:///run/containerd/containerd.sock"
        )
    return Path(path)
