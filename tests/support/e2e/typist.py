"""Commands on a terminal of their own, with a user who types."""

import contextlib
import os
import pty
import select


class Typist:
    """A kubectl on its own terminal, with a simulated user."""

    def __init__(self, argv):
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.execvp(argv[0], argv)  # noqa: S606  it needs no shell
        self.seen = ""

    def type(self, text):
        os.write(self.terminal, text.encode())

    def until(self, text):
        """Read up to ``text``, and drop the output before its end."""
        while text not in self.seen:
            ready, _, _ = select.select([self.terminal], [], [], 60)
            assert ready, f"no {text!r} after {self.seen!r}"
            self.seen += self._read()
        before, _, self.seen = self.seen.partition(text)
        return before + text

    def _read(self):
        piece = os.read(self.terminal, 4096).decode(errors="replace")
        assert piece, f"the end came after {self.seen!r}"
        return piece

    def end(self):
        """Return (exit code, the rest of the output)."""
        with contextlib.suppress(OSError):  # EIO marks the end of a terminal
            while True:
                self.seen += self._read()
        os.close(self.terminal)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]), self.seen
