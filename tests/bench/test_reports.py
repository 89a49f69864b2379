"""Measurements as they are shown, written to the page, and compared."""

from pathlib import Path

import pytest

from bench import cni_report, page, proxy_report
from bench.cni import compare, figures
from bench.cni_scenarios import Sample, Scenario, scenarios
from bench.proxy_results import Result, Round, Turn, read, save
from bench.versus import THIS, Tree

SECTION = "<!-- begin: {0} -->\nold\n<!-- end: {0} -->\n"
TREES = (Tree(THIS.root, "this"), Tree(THIS.root, "other"))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder in the place of docs/, with a page that has all sections; the real one stays."""
    before = page.PAGE.read_text()
    commands = [
        f"bin/bench {name}{against} --write"
        for name in ("proxy", "cni")
        for against in ("", " --against CHECKOUT")
    ]
    (tmp_path / "figures.md").write_text("".join(map(SECTION.format, commands)))
    monkeypatch.setattr(page, "FOLDER", tmp_path)
    monkeypatch.setattr(page, "PAGE", tmp_path / "figures.md")
    yield tmp_path
    assert (THIS.root / "docs" / "figures.md").read_text() == before


def proxy_result(tree: str, services: int, cost: float) -> Result:
    turns = [Turn(direct=1e-4, service=cost * 1e-4, bare=0.8e-4)] * 5
    one = Round(
        load=cost,
        load_busy=cost / 2,
        changes=[cost / 1000] * 3 if services > 1 else [],
        memory=50 * cost,
        most_memory=60 * cost,
        busy=cost / 10,
        turns={"1 CPU": turns, "2 CPUs": turns},
        transfers=[(0.01, cost * 0.01)],
    )
    return Result("nftables", tree, services, "Then and there.", "abc", 1.5, [one] * 6)


def written(folder: Path, command: str) -> str:
    text = (folder / "figures.md").read_text()
    return text.partition(f"<!-- begin: {command} -->")[2].partition("<!-- end")[0]


def test_proxy_figures_are_written(folder):
    proxy_report.write([proxy_result("", 1000, 1.2), proxy_result("", 1, 1.0)])
    text = written(folder, "bin/bench proxy --write")
    assert "Then and there.\nThe machine's load was 1.5, " in text
    assert "| nftables | 1 | 1.00 s (0.50 s) |  |  | 50 MB (60 MB) |" in text
    assert "| nftables | 1,000 | 1.20 s (0.60 s) | 1.2 ms (1 ms) | 12% | 60 MB (72 MB) |" in text
    assert "| 1.20 (1.20 to 1.20) | 1.50 (1.50 to 1.50) |" in text
    assert "nftables, 1,000</text>" in (folder / "figures-proxy.svg").read_text()


def test_kept_proxy_figures_are_the_same(tmp_path):
    results = [proxy_result("this", 1000, 1.2), proxy_result("other", 1, 1.0)]
    save(results, tmp_path / "kept")
    assert read([tmp_path / "kept"]) == results


def test_proxies_of_two_checkouts_are_compared(folder):
    results = [proxy_result("other", 1000, 1.0), proxy_result("this", 1000, 1.2)]
    assert proxy_report.is_comparison(results)
    assert {round(each.ratio.value, 3) for each in proxy_report.compare(results)} == {1.2}
    proxy_report.write_comparison(results)
    text = written(folder, "bin/bench proxy --against CHECKOUT --write")
    assert "commit abc" in text
    assert "| nftables, 1,000 Services: first load | 1.20 (1.20 to 1.20) | BROKEN |" in text


def cni_scenarios(*trees: Tree) -> list[Scenario]:
    """Each ADD takes 3 ms in this checkout, 2 ms in the other, and 4 ms with the reference's."""
    walls = {"this": 3.0, "other": 2.0, "": 4.0}
    done = scenarios(trees, 5)
    for scenario in done:
        for subject in scenario.subjects:
            for verb in ("ADD", "DEL"):
                sample = Sample(walls[subject.tree], 2 * walls[subject.tree])
                scenario.samples[subject.label, verb] = [sample] * 6
    return done


CONDITIONS = cni_report.Conditions(6, "plugins 1.1", 0.5)


def test_cni_figures_are_written(folder):
    cni_report.write(figures(cni_scenarios(TREES[0])), CONDITIONS)
    text = written(folder, "bin/bench cni --write")
    assert "plugins 1.1" in text
    assert "| one | 0.75 (0.75 to 0.75) |" in text
    assert "reference" not in text.partition("| ---")[0].rpartition("\n\n")[2]
    assert "4.0 ms</text>" in (folder / "figures-cni.svg").read_text()


def test_cni_plugins_of_two_checkouts_are_compared(folder):
    comparisons = list(compare(cni_scenarios(*TREES)))
    assert {each.ratio.value for each in comparisons} == {1.5}
    titles = [each.title for each in comparisons]
    assert len(titles) == len(set(titles)) == 2 * 2 * (5 * 3 + 3 * 2 + 2)
    cni_report.write_comparison(comparisons, TREES[1], CONDITIONS)
    text = written(folder, "bin/bench cni --against CHECKOUT --write")
    assert "| one: ADD, C client, CPU time | 1.50 (1.50 to 1.50) | BROKEN |" in text


def test_one_checkout_is_not_compared():
    assert not list(compare(cni_scenarios(TREES[0])))
    assert not proxy_report.is_comparison([proxy_result("", 1, 1.0)])
