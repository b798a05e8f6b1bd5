"""What a notebook defines, for tests: its functions, classes and constants, without running the notebook."""

import ast
import dis
import json
import linecache
from pathlib import Path
from types import CodeType

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def definitions(name: str, *wanted: str, **given: object) -> dict:
    """The `wanted` definitions of `notebooks/<name>*.ipynb`, executed with those and the imports that they need.

    A name that is defined more than once has its first definition; one that is `given` has that value in place of any,
    as where the notebook would read songs or train. Raises ValueError for a name without a definition.
    """
    (path,) = NOTEBOOKS.glob(f"{name}*.ipynb")
    found: dict[str, list[CodeType]] = {}
    order: list[CodeType] = []
    for number, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
        if cell["cell_type"] == "code":
            lines = ["#" * line.startswith(("%", "!")) + line for line in "".join(cell["source"]).splitlines(True)]
            file = f"<{path.name}, cell {number}>"
            linecache.cache[file] = (0, None, lines, file)  # for tracebacks, and for TensorFlow, which reads sources
            for node in ast.parse("".join(lines)).body:
                order.append(compile(ast.Module([node], []), file, "exec"))
                for bound in _bound(node):
                    if bound not in found or isinstance(node, ast.Import | ast.ImportFrom):
                        found.setdefault(bound, []).append(order[-1])
    if unknown := [each for each in wanted if each not in found]:
        raise ValueError(f"{path.name} defines no {', '.join(unknown)} at the top level of a cell.")
    todo, needed = list(wanted), set()
    while todo:
        for code in found.pop(todo.pop(), []):
            needed.add(id(code))
            todo += _globals(code) - given.keys()
    namespace = {"__name__": "__main__", **given}
    for code in order:
        if id(code) in needed:
            exec(code, namespace)
    return {each: namespace[each] for each in wanted}


def _bound(node: ast.stmt) -> list[str]:
    """The names that a statement defines at the top level."""
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            return [alias.asname or alias.name.partition(".")[0] for alias in names]
        case ast.Assign(targets=targets):
            return [part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
    return []


def _globals(code: CodeType) -> set[str]:
    """The names that code, and all code within it, looks up outside of its functions."""
    read = {step.argval for step in dis.get_instructions(code) if step.opname in ("LOAD_NAME", "LOAD_GLOBAL")}
    return read.union(*(_globals(part) for part in code.co_consts if isinstance(part, CodeType)))
