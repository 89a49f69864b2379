"""Runs skopeo (Debian's package of that name), which speaks the registries' protocol.

It copies an image into a folder, and compares every digest and size on the way. What it writes is
as much distrusted as any archive: the image store checks all of it again.
"""

import base64
import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_PERIOD = 0.1  # seconds from one look at the folder to the next
_MOST_SAID = 64 * 1024
_FATAL = re.compile(r'level=fatal msg="((?:[^"\\]|\\.)*)"')
_SOURCE = re.compile(r"^initializing source \S+: ")
# What skopeo, Go's network library and registries say, in lower case -> what helps.
_REMEDIES = (
    (
        ("http response to https client",),
        "this registry has no TLS: --tls-verify=false, if you trust the network",
    ),
    (
        ("x509:", "tls:"),
        "--cert-dir DIR with the certificate of its authority as DIR/ca.crt, or --tls-verify=false",
    ),
    (
        ("unauthorized", "authentication required", "denied", "authorization"),
        "give a user with --creds USER:PASSWORD, or --authfile FILE",
    ),
    (("manifest unknown", "name unknown"), "the registry has no such image: see its name and tag"),
    (("no image found in",), "choose a platform that it has with --platform"),
    (
        (
            *("dial tcp", "lookup ", "no such host", "i/o timeout", "connection refused"),
            *("network is unreachable", "no route to host", "eof", "connection reset"),
        ),
        "the registry cannot be reached from here. On a machine that reaches it: skopeo copy "
        "docker://{name} oci-archive:FILE; then here: podwire image import {name} FILE",
    ),
)


class SkopeoError(Exception):
    """An image was not copied; the text says the cause and the remedy."""


@dataclass(frozen=True, slots=True)
class Access:
    """How a registry is asked.

    ``creds`` is USER:PASSWORD; ``authfile`` a file as ``skopeo login`` writes it; ``cert_dir`` a
    folder with authorities (``*.crt``), and with the client's ``*.cert`` and ``*.key``.
    """

    creds: str = ""
    authfile: Path | None = None
    cert_dir: Path | None = None
    tls_verify: bool = True


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is copied: a full reference, for a platform, and the most bytes that it may have."""

    name: str
    os: str
    architecture: str
    variant: str
    most_bytes: int
    stalled: float  # seconds without a new byte, after which it is given up


def copy(wanted: Wanted, access: Access, folder: Path, say: Callable[[int], None]) -> None:
    """Copy an image to a folder (skopeo's transport ``dir``), and say the bytes meanwhile.

    Raises SkopeoError, OSError.
    """
    program = shutil.which("skopeo")
    if program is None:
        raise SkopeoError("skopeo is not installed: apt-get install skopeo")
    with tempfile.TemporaryDirectory(prefix="podwire-auth-") as secrets:
        argv = [program, *_options(wanted), "copy", *_access(wanted, access, Path(secrets))]
        argv += [f"docker://{wanted.name}", f"dir:{folder}"]
        with tempfile.TemporaryFile() as said:
            _watch(argv, wanted, folder, said, say)


def _options(wanted: Wanted) -> list[str]:
    options = [f"--override-os={wanted.os}", f"--override-arch={wanted.architecture}"]
    return options + ([f"--override-variant={wanted.variant}"] if wanted.variant else [])


def _access(wanted: Wanted, access: Access, secrets: Path) -> list[str]:
    options = [
        "--quiet",
        "--preserve-digests",
        f"--src-tls-verify={str(access.tls_verify).lower()}",
    ]
    authfile = _with_creds(wanted.name, access.creds, secrets) if access.creds else access.authfile
    if authfile:
        options.append(f"--src-authfile={authfile}")
    if access.cert_dir:
        options.append(f"--src-cert-dir={access.cert_dir}")
    return options


def _with_creds(name: str, creds: str, secrets: Path) -> Path:
    """Write a password into a file: a command line is seen by every user of the machine."""
    file = secrets / "auth.json"
    encoded = base64.b64encode(creds.encode()).decode()
    file.write_text(json.dumps({"auths": {name.partition("/")[0]: {"auth": encoded}}}))
    return file


def _watch(
    argv: list[str], wanted: Wanted, folder: Path, said: IO[bytes], say: Callable[[int], None]
) -> None:
    with subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said
    ) as process:
        try:
            _wait(process, wanted, folder, say)
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        said.seek(0)
        raise SkopeoError(_explain(said.read(_MOST_SAID).decode(errors="replace"), wanted.name))


def _wait(
    process: "subprocess.Popen[bytes]", wanted: Wanted, folder: Path, say: Callable[[int], None]
) -> None:
    """Wait for the end; raises SkopeoError if it takes too much room, or nothing comes."""
    size, grew = 0, time.monotonic()
    while True:
        with suppress(subprocess.TimeoutExpired):
            process.wait(_PERIOD)
        now = _size(folder)
        if now > wanted.most_bytes:
            raise SkopeoError(
                f"it has more than {wanted.most_bytes} bytes: allow more with --max-size"
            )
        if process.returncode is not None:
            return
        if now != size:
            size, grew = now, time.monotonic()
            say(size)
        if time.monotonic() - grew > wanted.stalled:
            raise SkopeoError(
                f"nothing came from the registry for {wanted.stalled:.0f} s: try again later"
            )


def _size(folder: Path) -> int:
    total = 0
    for path in folder.iterdir() if folder.is_dir() else ():
        try:
            total += path.stat().st_size
        except FileNotFoundError:  # skopeo gives a layer its name when it is whole
            continue
    return total


def _explain(said: str, name: str) -> str:
    """Return skopeo's cause in one line, and what helps."""
    found = _FATAL.findall(said)
    text = found[-1].replace('\\"', '"').replace("\\\\", "\\") if found else said
    text = " ".join(_SOURCE.sub("", text).split())[:500] or "skopeo failed without a word"
    lowered = text.lower()
    for signs, remedy in _REMEDIES:
        if any(sign in lowered for sign in signs):
            return f"{text}: {remedy.format(name=name)}"
    return text
