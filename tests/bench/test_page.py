"""The page of figures, and the pictures on it."""

import xml.etree.ElementTree as ET

import pytest

from bench import page
from bench.charts import Bar, Chart, svg

SECTIONS = """# Figures
<!-- begin: bin/bench a -->
old a
<!-- end: bin/bench a -->
by hand
<!-- begin: bin/bench b -->
old b
<!-- end: bin/bench b -->
"""


@pytest.fixture
def figures(tmp_path, monkeypatch):
    """The page, in a folder of the test's own."""
    made = tmp_path / "figures.md"
    made.write_text(SECTIONS)
    monkeypatch.setattr(page, "PAGE", made)
    return made


def test_benchmark_replaces_its_own_section_alone(figures):
    page.write("bin/bench a", "\nnew\n\n")
    assert figures.read_text() == SECTIONS.replace("old a", "new")
    page.write("bin/bench a", "new")
    assert figures.read_text() == SECTIONS.replace("old a", "new")


@pytest.mark.usefixtures("figures")
def test_missing_section_is_named():
    with pytest.raises(SystemExit, match="no section for bin/bench c"):
        page.write("bin/bench c", "new")


def test_page_has_the_section_of_each_benchmark():
    for command in ("proxy", "proxy --against CHECKOUT", "cni", "cni --against CHECKOUT"):
        assert f"<!-- begin: bin/bench {command} --write -->\n" in page.PAGE.read_text()
        assert f"<!-- end: bin/bench {command} --write -->\n" in page.PAGE.read_text()


def test_table():
    assert page.table(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |\n"


def test_loads_are_a_span():
    assert "was 1.5," in page.loads([1.5])
    assert "was 0.2 to 1.5," in page.loads([1.5, 0.2, 0.9])


def test_picture_has_bars_of_their_lengths():
    chart = Chart("a <title>", [Bar("one", 1.0, "1 s"), Bar("two", 4.0, "4 s")])
    root = ET.fromstring(svg([chart, Chart("empty", [])]))  # noqa: S314  # our own
    name = "{http://www.w3.org/2000/svg}"
    widths = [int(bar.attrib["width"]) for bar in root.iter(f"{name}rect")]
    assert widths[1] == 4 * widths[0]
    texts = [text.text for text in root.iter(f"{name}text")]
    assert texts == ["a <title>", "one", "1 s", "two", "4 s", "empty"]
