from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOP_LEVEL = {
    "app.py", "studio", "jobs", "storage", "tests", "requirements.txt", "README.md",
    "pyproject.toml", "CONTRIBUTING.md", "CHANGELOG.md", ".gitignore", ".ci",
}  # fmt: skip
MOST_LINES = 400


def project_files() -> list[str]:
    """What the repository holds, or will hold with the next commit."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [path for path in listed.stdout.splitlines() if (ROOT / path).exists()]


def source_files() -> list[str]:
    """The Python files of the product, without empty package markers."""
    rooms = ("app.py", "studio/", "jobs/", "storage/")
    found = [path for path in project_files() if path.startswith(rooms) and path.endswith(".py")]
    return [path for path in found if (ROOT / path).stat().st_size > 0]


@pytest.mark.parametrize("imported", ["app", "studio.server", "studio.page; studio.page.build()"])
def test_the_page_process_never_imports_the_heavy_libraries(imported: str) -> None:
    code = (
        f"import sys, {imported}\nprint(*{{'torch', 'transformers', 'peft', 'datasets'}} & set(sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == ""


def test_the_top_level_is_the_one_that_was_agreed() -> None:
    assert {path.split("/")[0] for path in project_files()} == TOP_LEVEL


def test_no_file_is_longer_than_a_reader_can_hold() -> None:
    lengths = {
        path: len((ROOT / path).read_text().splitlines()) for path in project_files() if path.endswith(".py")
    }
    assert {path: lines for path, lines in lengths.items() if lines > MOST_LINES} == {}


def test_every_import_keeps_to_its_room() -> None:
    program = Path(sys.executable).parent / "lint-imports"
    ended = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout


def test_app_starts_the_studio_and_does_nothing_else() -> None:
    tree = ast.parse((ROOT / "app.py").read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    ours = {name.split(".")[0] for name in imported if name} & {"studio", "jobs", "storage"}
    assert ours == {"studio", "storage"}


def readme_tree() -> list[tuple[str, str]]:
    """Path and description of each line of the README's tree; an indented path lies in the folder above."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    tree = next(block for block in blocks if block.startswith("app.py"))
    entries, folder = [], ""
    for indent, path, description in re.findall(r"^( *)(\S+)(?: {2,}(\S.*))?$", tree, re.MULTILINE):
        if not indent:
            folder = path if path.endswith("/") else ""
        entries.append((folder + path if indent else path, description))
    return entries


def test_the_readmes_tree_names_every_source_file_once() -> None:
    named = [path for path, _ in readme_tree()]
    assert [path for path in source_files() if path not in named] == []
    assert [path for path in named if named.count(path) > 1] == []


def test_the_readmes_tree_names_nothing_that_is_not_there() -> None:
    assert [path for path, _ in readme_tree() if not (ROOT / path).exists()] == []


def test_every_file_of_the_readmes_tree_has_its_line() -> None:
    assert [path for path, words in readme_tree() if path.endswith(".py") and not words] == []
