"""A plugin under test, and the rows of the conformance table; see test_cni_conformance.

A row's number is that of the checklist, or with an R that of the reference's shortfall, in the
project's notes on CNI (docs/cni/design.md repeats them). ``reference`` says how Debian's
containernetworking-plugins 1.1.1 stand: True keeps the row, False breaks it, None does not apply
(the row needs cniVersion 1.1.0, which they do not have, or is about podwire alone).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.cni.runner import Answer, Json, Node, Pod
from tests.support.space import Space

_SPY = """#!/bin/sh
# an IPAM plugin that records how it is executed
cat > "{folder}/stdin.$CNI_COMMAND"
env | sort > "{folder}/environment.$CNI_COMMAND"
echo "spy says $CNI_COMMAND" >&2
if [ "$CNI_COMMAND" = "{fails}" ]; then
  echo '{{"cniVersion":"1.0.0","code":111,"msg":"no"}}'
  exit 1
fi
[ "$CNI_COMMAND" = ADD ] || exit 0
echo '{{"cniVersion":"1.0.0","ips":[{{"address":"10.77.0.9/24","gateway":"10.77.0.1"}}]}}'
"""


@dataclass
class Bench:
    """A plugin on a node, with another network for each row."""

    node: Node
    spaces: Callable[[str], Space]
    number: int
    kind: str = "podwire-cni"
    ipam: str = "podwire"
    version: str = "1.1.0"
    pods: list[Pod] = field(default_factory=list)

    def conf(self, **options: Any) -> Json:
        ipam = {
            "type": self.ipam,
            "dataDir": str(self.node.data),
            "ranges": [[{"subnet": f"10.{self.number}.0.0/24"}]],
        }
        base = {
            "cniVersion": self.version,
            "name": f"n{self.number}",
            "type": self.kind,
            "bridge": f"b{self.number}",
            "isGateway": True,
            "isDefaultGateway": True,
            "ipam": ipam,
        }
        return {key: value for key, value in (base | options).items() if value is not None}

    def pod(self) -> Pod:
        return Pod(f"r{self.number}c{next(self.node.numbers)}", self.spaces("pod"))

    def call(self, verb: str, pod: Pod, conf: Json | None = None, **more: Any) -> Answer:
        return self.node.call(verb, pod, self.conf() if conf is None else conf, **more)

    def add(self, pod: Pod, conf: Json | None = None, **more: Any) -> Json:
        return self.call("ADD", pod, conf, **more).ok().document

    def fails(
        self, code: int | None, verb: str, pod: Pod, conf: Json | None = None, **more: Any
    ) -> Json:
        """The error document of a call that must fail."""
        answer = self.call(verb, pod, conf, **more)
        assert answer.code != 0, answer
        document = answer.document
        assert {"code", "msg"} <= document.keys()
        assert code is None or document["code"] == code, document
        return document

    def reservations(self) -> dict[str, str]:
        return self.node.reservations(f"n{self.number}")

    def spy(self, fails: str = "") -> tuple[Json, Path]:
        """An ipam section with a plugin that records its calls, and the file of its records."""
        folder = self.node.files / f"spy{self.number}"
        folder.mkdir()
        program = folder / "spy"
        program.write_text(_SPY.format(folder=folder, fails=fails))
        program.chmod(0o755)
        return {"type": "spy"}, folder


Check = Callable[[Bench], None]


@dataclass(frozen=True)
class Row:
    point: str
    says: str
    reference: bool | None
    check: Callable[[Bench], None]


def rows(into: list[Row]) -> Callable[..., Callable[[Check], Check]]:
    """A decorator that adds a check to a table, as a row."""

    def row(point: str, says: str, *, reference: bool | None) -> Callable[[Check], Check]:
        def add(check: Check) -> Check:
            into.append(Row(point, says, reference, check))
            return check

        return add

    return row
