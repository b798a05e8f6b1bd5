"""The house: rooms over one another, no import upward, no circle, no reach into what is private, no long file."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("cli", "course", "lab", "listening", "hear", "learn", "measure", "music", "files")  # from the top floor down
SOURCES = sorted(ROOT.glob("course_lib/**/*.py"))


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("course_lib", cache_dir=None)


def room(module: str) -> str:
    """`learn` of `course_lib.learn.train`, "" of the package itself."""
    return (module.split(".") + [""])[1]


def arrows(graph: grimp.ImportGraph) -> set[tuple[str, str]]:
    """(room, room that it imports from)."""
    pairs = (
        (room(importer), room(imported))
        for importer in graph.modules
        for imported in graph.find_modules_directly_imported_by(importer)
    )
    return {(a, b) for a, b in pairs if a != b and a in ROOMS and b in ROOMS}


def test_no_import_runs_upward(graph):
    upward = [(a, b) for a, b in arrows(graph) if ROOMS.index(a) > ROOMS.index(b)]
    assert not upward


def test_every_module_is_in_a_room(graph):
    found = {room(module) for module in graph.modules} - {"", "__main__"}
    assert found == set(ROOMS)


def test_no_imports_in_a_circle(graph):
    modules = [module for module in graph.modules if module.count(".") != 1 or room(module) in ("cli", "files")]
    imports = {module: graph.find_modules_directly_imported_by(module) & set(modules) for module in modules}
    TopologicalSorter(imports).prepare()  # raises CycleError, which names the circle


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_file_is_over_300_lines(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_module_reaches_into_the_private_names_of_another(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and "course_lib" in str(node.module)]
    names = {alias.asname or alias.name for node in imports for alias in node.names}
    taken = {name for name in names if name.startswith("_")}
    taken |= {
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        if node.value.id in names and re.match("_[^_]", node.attr)
    }
    assert not taken


def test_the_picture_in_contributing_is_the_house(graph):
    """Its arrows between rooms are those of the imports: no more and no fewer."""
    picture = re.search(r"```mermaid\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.DOTALL)
    assert picture, "CONTRIBUTING.md has no mermaid picture"
    drawn = {
        (source, target)
        for source, targets in re.findall(r"^ *(\w+) --> ([\w &]+)$", picture[1], re.MULTILINE)
        for target in targets.split(" & ")
    }
    assert drawn == arrows(graph)
