"""The table of kinds in docs/kinds.md: a row for each kind, and each row is true."""

import re

import pytest

from control.api import kinds
from control.api.kinds import FORMS, KINDS, SERVED
from control.api.meta import Object
from control.api.rules import Rules, rules_of
from control.api.stored import STORED
from tests.support.e2e.harness import CHECKOUT

PAGE = (CHECKOUT / "docs/kinds.md").read_text()
ROWS = {
    (name, version): level
    for name, version, level in re.findall(
        r"^\| (\w+) \| (\S+) \| (stored|validated|acted on) \|", PAGE, re.M
    )
}
# By what the API server itself does with them.
ACTED_ON = {
    "APIService",
    "FlowSchema",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
    "MutatingWebhookConfiguration",
    "PriorityLevelConfiguration",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
}
PARTS = ("control/agent", "control/controllers", "control/scheduler", "control/server", "proxy")


def test_every_kind_has_a_row():
    assert set(ROWS) == {(kind.name, kind.api_version) for kind in SERVED}


@pytest.mark.parametrize("kind", FORMS, ids=lambda kind: kind.api_version)
def test_forms_show_a_kind_of_the_same_level(kind):
    assert kind.stored in KINDS
    assert kind.model is kind.stored.model
    assert ROWS[kind.name, kind.api_version] == ROWS[kind.name, kind.stored.api_version]


@pytest.mark.parametrize("kind", STORED, ids=lambda kind: kind.name)
def test_stored_kinds_have_no_model_and_their_level_says_if_values_are_checked(kind):
    assert kind.model is Object
    is_checked = rules_of(kind).validate != Rules().validate
    level = "validated" if is_checked else "stored"
    # The API server itself acts on it, by what the object says and without a model.
    level = "acted on" if kind.name in ACTED_ON else level
    assert ROWS[kind.name, kind.api_version] == level


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind not in STORED], ids=lambda kind: kind.name
)
def test_other_kinds_have_a_model_and_a_part_that_reads_them(kind):
    assert kind.model is not Object
    if ROWS[kind.name, kind.api_version] == "acted on":
        constant = next(name for name, value in vars(kinds).items() if value is kind)
        used = re.compile(rf"\b{constant}\b")
        files = (path for part in PARTS for path in (CHECKOUT / part).rglob("*.py"))
        assert any(used.search(path.read_text()) for path in files)
    else:
        assert ROWS[kind.name, kind.api_version] == "validated"
