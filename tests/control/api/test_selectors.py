"""Selectors: kubectl's grammar, and the equal meaning of text and model."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.api.meta import LabelSelector, LabelSelectorRequirement
from control.api.selectors import (
    SelectorError,
    format_labels,
    from_model,
    parse_fields,
    parse_labels,
    selects,
)

WEB = {"app": "web", "tier": "a"}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("app=web", True),
        ("app==web,tier in (a, b)", True),
        ("app!=web", False),
        ("other!=web", True),
        ("other", False),
        ("!other", True),
        ("tier notin (b,c)", True),
        ("other notin (b)", True),
        ("app=", False),
        ("tier in (,a)", True),
        ("example.com/x", False),
        ("tier>1", False),
    ],
)
def test_label_selectors_match(text, matches):
    assert parse_labels(text).matches(WEB) is matches


def test_numbers_compare_as_numbers():
    assert parse_labels("n>9").matches({"n": "10"}) and not parse_labels("n<9").matches({"n": "10"})


@pytest.mark.parametrize(
    "text",
    ["a b", "=x", "a in b", "a in (b", "a=b=c", "a,,b", "(a)", "a=b,", "a>x", "a=-", "A/B/c"],
)
def test_malformed_label_selectors_are_refused(text):
    with pytest.raises(SelectorError):
        parse_labels(text)


def test_fields_are_found_by_path():
    pod = {"spec": {"nodeName": "n1", "hostNetwork": True}, "status": {}}
    assert parse_fields("spec.nodeName=n1,status.phase!=Failed").matches(pod)
    assert parse_fields("spec.nodeName==n1").matches(pod)
    assert parse_fields("spec.hostNetwork=true").matches(pod)
    assert parse_fields("status.phase=").matches(pod)
    assert not parse_fields("spec.nodeName=").matches(pod)
    assert parse_fields("metadata.name=a\\,b").matches({"metadata": {"name": "a,b"}})


@pytest.mark.parametrize("text", ["spec.nodeName", "a=b=c", "a=\\", "a=b,c"])
def test_malformed_field_selectors_are_refused(text):
    with pytest.raises(SelectorError):
        parse_fields(text)


def test_an_absent_selector_matches_nothing_an_empty_one_everything():
    assert not selects(None, WEB) and selects(LabelSelector(), WEB)


words = st.sampled_from(["a", "b", "c", "d.e/f"])
values = st.sampled_from(["", "1", "2", "x"])
expressions = st.one_of(
    st.builds(
        LabelSelectorRequirement,
        key=words,
        operator=st.sampled_from(["In", "NotIn"]),
        values=st.lists(values, min_size=1, max_size=3),
    ),
    st.builds(
        LabelSelectorRequirement, key=words, operator=st.sampled_from(["Exists", "DoesNotExist"])
    ),
)
models = st.builds(
    LabelSelector,
    match_labels=st.dictionaries(words, values, max_size=2),
    match_expressions=st.lists(expressions, max_size=3),
)


@given(models, st.dictionaries(words, values))
def test_a_model_and_its_text_match_the_same_labels(model, labels):
    text = format_labels(model)
    assert parse_labels(text).matches(labels) == from_model(model).matches(labels)


@given(st.text(alphabet="ab=!(),<> in", max_size=12))
def test_any_text_is_read_or_refused(text):
    try:
        parse_labels(text).matches(WEB)
    except SelectorError:
        return
