"""A Python process in another network namespace that carries out calls, one after another.

``Worker(space).call(function, *args)`` runs an importable function there and returns its result, or
raises its exception. What a call starts (servers, threads) lives on until the worker is stopped.
"""

import pickle
import struct
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from tests.support.space import Space

ROOT = Path(__file__).parents[3]
Result = TypeVar("Result")


class Worker:
    """The near end."""

    def __init__(self, space: Space) -> None:
        self._process = subprocess.Popen(
            space.argv(sys.executable, "-m", "tests.support.cni.worker"),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def start(self, function: Callable[..., object], *args: object) -> None:
        """Begin a call; ``finish`` returns its result."""
        assert self._process.stdin is not None
        _write(self._process.stdin, (function, args))

    def finish(self) -> Any:
        """The result of the call begun last; raises what it raised."""
        assert self._process.stdout is not None
        good, value = _read(self._process.stdout)
        if not good:
            raise AssertionError(value)
        return value

    def call(self, function: Callable[..., Result], *args: object) -> Result:
        """Run ``function(*args)`` there."""
        self.start(function, *args)
        result: Result = self.finish()
        return result

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def _write(pipe: BinaryIO, value: object) -> None:
    data = pickle.dumps(value)
    pipe.write(struct.pack("!I", len(data)) + data)
    pipe.flush()


def _read(pipe: BinaryIO) -> Any:
    header = pipe.read(4)
    if len(header) < 4:
        raise EOFError("the worker has ended")
    return pickle.loads(pipe.read(struct.unpack("!I", header)[0]))  # noqa: S301  # our own child


def main() -> None:
    """The far end."""
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr
    while True:
        try:
            function, args = _read(stdin)
        except EOFError:
            return
        try:
            _write(stdout, (True, function(*args)))
        except Exception:  # noqa: BLE001  # raised again at the near end
            _write(stdout, (False, traceback.format_exc()))


if __name__ == "__main__":
    main()
