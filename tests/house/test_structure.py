"""The house: the order of its rooms, their doors, and the sizes of what is in them."""

import ast
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "maml_en_llm"
MODULES = sorted(PACKAGE.rglob("*.py"))
# from the ground up: a room imports from those before it, and from itself
ORDER = [
    *("sources", "errors", "protocol", "tensors", "drawing", "signals", "locks"),
    *("sittings", "provenance"),
    "checkpoint",
    *("minicrossfit", "tasks", "prompts", "base", "optimizers", "meta", "models"),
    *("methods", "training", "evaluation", "runs", "plots"),
    *("endings", "options", "bar", "assessment", "reproduction", "__main__"),
]
MODULE_LINES, FUNCTION_LINES, NESTING = 300, 50, 4
# a method of training, and the row of a table that it is compared in
NAMED_TWICE = {"Method", "METHODS"}
NESTS = (ast.If, ast.For, ast.While, ast.With, ast.Try, ast.AsyncFor, ast.AsyncWith)


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def room_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports(path: Path):
    """(module below the package as a list of parts, names, node) of each import."""
    parts = path.relative_to(PACKAGE).parts
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.name.split(".")[0] == PACKAGE.name:
                        yield alias.name.split(".")[1:], [], node
            continue
        module = node.module.split(".") if node.module else []
        if node.level:
            base = list(parts[: len(parts) - node.level])
            assert len(parts) >= node.level, f"{name_of(path)}:{node.lineno}"
            yield base + module, [alias.name for alias in node.names], node
        elif module[0] == PACKAGE.name:
            yield module[1:], [alias.name for alias in node.names], node


def targets(path: Path):
    """(room, names, line) of what is imported from the package."""
    for module, names, node in imports(path):
        if module:
            yield module[0], module, names, node.lineno
        else:  # from . import room
            for name in names:
                yield name, [name], [], node.lineno


def test_every_room_has_its_place_in_the_order():
    rooms = {room_of(path) for path in MODULES} - {"__init__"}
    assert rooms == set(ORDER)


def test_imports_point_down():
    upward = []
    for path in MODULES:
        here = room_of(path)
        if here == "__init__":  # the package's door gives out what every room has
            continue
        for room, _, _, line in targets(path):
            if ORDER.index(room) > ORDER.index(here):
                upward.append(f"{name_of(path)}:{line} imports {room}")
    assert not upward


def test_no_circle_within_a_room():
    """At load time; an import inside a function comes later."""
    edges = defaultdict(set)
    for path in MODULES:
        tree = ast.parse(path.read_text())
        for module, names in loaded_by(path, tree):
            for target in files_of(module, names):
                if target != path:
                    edges[path].add(target)
    state: dict[Path, int] = {}

    def visit(path: Path, way: list[Path]):
        assert state.get(path) != 1, " → ".join(name_of(p) for p in [*way, path])
        if path in state:
            return
        state[path] = 1
        for target in sorted(edges[path]):
            visit(target, [*way, path])
        state[path] = 2

    for path in MODULES:
        visit(path, [])


def loaded_by(path: Path, tree: ast.Module):
    """(module parts, names) of the imports that run when the file is loaded."""
    parts = path.relative_to(PACKAGE).parts
    waiting = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.ImportFrom) and node.level:
            base = list(parts[: len(parts) - node.level])
            module = node.module.split(".") if node.module else []
            yield base + module, [alias.name for alias in node.names]
        typed = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        if isinstance(node, (ast.If, ast.Try, ast.With)) and not typed:
            waiting += node.body


def files_of(module: list[str], names: list[str]):
    """The files that an import loads, doors of rooms apart (they load their files)."""
    here = PACKAGE.joinpath(*module)
    if here.with_suffix(".py").is_file():
        yield here.with_suffix(".py")
        return
    for name in names:
        if (here / f"{name}.py").is_file():
            yield here / f"{name}.py"


def test_nothing_private_is_imported_by_another_room():
    found = []
    for path in MODULES:
        for room, module, names, line in targets(path):
            private = [n for n in [*module, *names] if n.startswith("_")]
            if private and room != room_of(path):
                found.append(f"{name_of(path)}:{line} imports {private}")
    assert not found


def test_every_door_lists_what_it_gives_out():
    for path in PACKAGE.glob("*/__init__.py"):
        tree = ast.parse(path.read_text())
        given = {
            alias.asname or alias.name
            for node in tree.body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        (listed,) = [
            ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign)
            and ast.unparse(node.targets[0]) == "__all__"
        ]
        assert set(listed) == given, name_of(path)


def defined(path: Path):
    """Public names that a module defines itself."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            to = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in to:
                for part in ast.walk(target):
                    if isinstance(part, ast.Name):
                        yield part.id


def test_no_public_name_is_defined_twice():
    where = defaultdict(list)
    for path in MODULES:
        if path.name == "__main__.py":  # its commands are named as what they run
            continue
        for name in set(defined(path)):
            if not name.startswith("_"):
                where[name].append(name_of(path))
    twice = {name: files for name, files in where.items() if len(files) > 1}
    twice = {name: twice[name] for name in twice.keys() - NAMED_TWICE}
    assert not twice, "\n".join(f"{name}: {files}" for name, files in twice.items())


def test_no_name_is_a_function_and_a_module():
    import maml_en_llm

    modules = {room_of(path) for path in MODULES}
    assert not modules & set(maml_en_llm.__all__)


def functions(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def depth(node: ast.AST, level: int = 0) -> int:
    """How deep blocks lie in each other; an elif is as deep as its if."""
    deepest = level
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.ClassDef, ast.Lambda)):
            continue
        is_elif = (
            isinstance(node, ast.If)
            and isinstance(child, ast.If)
            and node.orelse == [child]
        )
        deeper = isinstance(child, NESTS) and not is_elif
        deepest = max(deepest, depth(child, level + deeper))
    return deepest


def lines_of(function) -> int:
    """Lines from the name to the end, with those of the docstring."""
    return function.end_lineno - function.lineno + 1


def test_modules_and_functions_have_honest_sizes():
    found = []
    for path in MODULES:
        lines = len(path.read_text().splitlines())
        if lines > MODULE_LINES:
            found.append(f"{name_of(path)}: {lines} lines")
        for node in functions(path):
            length = lines_of(node)
            where = f"{name_of(path)}:{node.lineno} {node.name}"
            if length > FUNCTION_LINES:
                found.append(f"{where}: {length} lines")
            if depth(node) > NESTING:
                found.append(f"{where}: blocks {depth(node)} deep")
    assert not found, "\n".join(found)


def test_nothing_is_silenced_without_a_reason():
    """`# noqa: E501  the reason`, `# type: ignore[…]  the reason`."""
    bare = []
    for path in [*MODULES, *(ROOT / "tests").rglob("*.py")]:
        if path == Path(__file__):
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for mark in ("# noqa", "# type: ignore", "# pyright: ignore"):
                if mark in line:
                    said = line.split(mark, 1)[1].split("]", 1)[-1]
                    words = [w for w in said.replace(":", " ").split() if w.islower()]
                    if len(words) < 2:
                        bare.append(f"{path.name}:{number}")
    assert not bare


@pytest.mark.parametrize("room", ["meta", "optimizers"])
def test_torch_is_all_that_the_engine_loads(room):
    code = f"import maml_en_llm.{room}, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert "torch" in loaded
    heavy = {"transformers", "tokenizers", "datasets", "matplotlib", "peft"}
    assert not heavy & loaded
