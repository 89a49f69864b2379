"""The tools around the code: coverage and hooks."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
TOOL = re.compile(r"^\.venv/bin/[a-z-]+", re.MULTILINE)


def hooks():
    document = yaml.safe_load((CHECKOUT / ".pre-commit-config.yaml").read_text())
    (repository,) = document["repos"]
    assert repository["repo"] == "local", "a hook of another repository has to be downloaded"
    return repository["hooks"]


def run(*argv, **options):
    return subprocess.run(
        [str(arg) for arg in argv], capture_output=True, text=True, check=False, **options
    )


def test_the_hooks_are_what_lint_runs():
    lint = TOOL.findall((CHECKOUT / "bin" / "lint").read_text())
    called = [hook["entry"].split()[0] for hook in hooks()]
    assert sorted(called) == sorted(lint)
    assert len(lint) >= 4


@pytest.fixture
def repository(tmp_path):
    """A repository with the hooks, the project's settings and one file."""
    root = tmp_path / "repository"
    root.mkdir()
    for name in (".pre-commit-config.yaml", "pyproject.toml"):
        shutil.copy(CHECKOUT / name, root)
    (root / ".gitignore").write_text(".venv\n")
    (root / ".venv").symlink_to(CHECKOUT / ".venv")
    assert run("git", "init", "--quiet", cwd=root).returncode == 0
    return root


@pytest.mark.parametrize(("text", "ends"), [("A = 1\n", "Passed"), ("import os\n", "Failed")])
def test_a_hook_finds_what_is_wrong_without_a_network(repository, tmp_path, text, ends):
    (repository / "new.py").write_text(text)
    assert run("git", "add", "--all", cwd=repository).returncode == 0
    done = run(
        CHECKOUT / ".venv/bin/pre-commit",
        "run",
        "ruff-check",
        cwd=repository,
        env=os.environ | {"PRE_COMMIT_HOME": str(tmp_path / "home")},
    )
    assert done.stdout.startswith("ruff check"), done.stdout + done.stderr
    assert done.stdout.splitlines()[0].endswith(ends)
    assert done.returncode == (ends == "Failed")


@pytest.mark.timeout(1200)  # it reads all the code, twice
def test_coverage_sees_the_tests_and_the_processes_that_they_start(tmp_path):
    pages = tmp_path / "pages"
    environment = {key: text for key, text in os.environ.items() if "COVERAGE" not in key}
    done = run(
        CHECKOUT / "bin/test",
        "--sealed",
        f"--coverage={pages}",
        "-p",
        "no:cacheprovider",
        CHECKOUT / "tests/lab/test_cli.py",
        "-k",
        "full_disk or columns",
        env=environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {
        words[0]: int(words[-1].rstrip("%"))
        for line in done.stdout.splitlines()
        if (words := line.split())[-1:] and words[-1].endswith("%")
    }
    # Only the process "podwire image list" imports this module.
    (images,) = [name for name in rows if name.endswith("images/cli.py")]
    assert rows[images] > 0
    assert 0 < rows["TOTAL"] < 100
    assert f"{rows['TOTAL']}%" in (pages / "index.html").read_text()


def test_every_finding_is_listed_and_can_be_run():
    folder = CHECKOUT / "findings"
    scripts = {path.name for path in folder.glob("*.sh") if os.access(path, os.X_OK)}
    assert scripts == set(re.findall(r"\]\(([a-z0-9-]+\.sh)\)", (folder / "README.md").read_text()))
