"""The house stands as its README says: the course's files on top, the machinery in wings, and imports go one way."""

import ast
from pathlib import Path

import tinybvae

PACKAGE = Path(tinybvae.__file__).parent
COURSE = {"convolution", "layers", "losses", "vae", "optimizers", "schedule", "training", "gradcheck"}
WINGS = {"data", "kernels", "metrics", "report", "runs"}


def room(name):
    """Of a module's name, the file or the folder at the package's top that it is in; None if it is not ours."""
    package, _, rest = name.partition(".")
    return rest.partition(".")[0] or "__init__" if package == "tinybvae" else None


def imports():
    """{room: the rooms that it imports}, its own not counted."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        names = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                names |= ({f"{node.module}.{alias.name}" for alias in node.names} if node.module == "tinybvae" else
                          {node.module})
            elif isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
        own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        found.setdefault(own, set()).update({room(name) for name in names} - {own, None})
    return found


def test_nine_files_on_top():
    assert {path.stem for path in PACKAGE.glob("*.py")} == COURSE | {"__init__"}
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} == WINGS


def test_the_course_needs_no_wing_that_stands_on_it():
    for name, needed in imports().items():
        assert not needed & {"runs", "report"} or name in ("__init__", "report"), name


def test_imports_go_one_way():
    """What has been imported by none is taken away, again and again, until nothing is left: else there is a circle."""
    left = imports()
    while left:
        free = {name for name in left if not any(name in needed for other, needed in left.items() if other != name)}
        assert free, f"they import each other: {left}"
        left = {name: needed for name, needed in left.items() if name not in free}


def test_a_page_is_enough_for_any_function_of_the_course():
    for name in COURSE | {"__init__"}:
        for node in ast.walk(ast.parse((PACKAGE / f"{name}.py").read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno + 1 < 45, node.name


def test_threads_slices_and_parts_are_the_kernels_own():
    """A part, called from Python, is Python: it would be slow, and nobody would see why."""
    for path in PACKAGE.rglob("*.py"):
        if path.parent.name != "kernels":
            text = path.read_text(encoding="utf-8")
            assert not any(word in text for word in ("next_slice", "SLICES", "@parallel", "@jit")), path
