"""The house rules as functions: source in, complaints out. `test_checks.py` shows each of them failing."""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

ROOT = Path(__file__).parents[2]
PACKAGES = ("gateway", "billing")

MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
NAMELESS = {"common", "helper", "helpers", "misc", "service", "services", "util", "utils"}
# The edges: a story, a command, a route of the management API. Everything inside takes a connection.
TRANSACTION_OWNERS = (
    "billing.kit",
    "gateway.admit",
    "gateway.api",
    "gateway.app",
    "gateway.cli",
    "gateway.clerk",
    "gateway.courier",
    "gateway.dialects",
    "gateway.dispatch",
)
STATEMENTS = {"Query": 1, "Command": 0}
"""Class of a statement and the position of its SQL."""
EXECUTES = {"cursor", "execute", "executemany", "fetch", "fetchrow", "fetchval", "prepare"}
UNFINISHED = re.compile(r"\b(?:[T]ODO|[F]IXME|[X]XX)\b")
SILENCED = re.compile(r"#\s*(?:type:\s*ignore|pyright:\s*ignore|[n]oqa)(?P<rest>.*)")
REASON = re.compile(r"(?:\[[\w, -]+\]|:\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*)\s+(?:#\s*)?[-–—]?\s*\w+")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)|!\[[^\]]*\]\((?P<image>[^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)


class Module(msgspec.Struct, frozen=True):
    """A module by its dotted name; `path` is for people."""

    name: str
    path: str
    text: str

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def is_package(self) -> bool:
        return self.path.endswith("__init__.py")


def modules(*folders: str) -> list[Module]:
    """Every Python file under these folders of the repository."""
    return [
        Module(dotted(path.relative_to(ROOT)), str(path.relative_to(ROOT)), path.read_text(encoding="utf-8"))
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
        if "__pycache__" not in path.parts
    ]


def dotted(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def too_long(module: Module) -> Iterator[str]:
    lines = module.text.count("\n")
    if lines > MODULE_LINES_MAX:
        yield f"{module.path}: {lines} lines, at most {MODULE_LINES_MAX}: split it along its nouns or verbs"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield f"{module.path}:{node.lineno}: {node.name} has {lines} lines, at most {FUNCTION_LINES_MAX}"


def nameless(module: Module) -> Iterator[str]:
    for part in module.name.split("."):
        if part.lower() in NAMELESS:
            yield f"{module.path}: '{part}' names nothing: say what it does"


def dead(every: list[Module], entries: set[str]) -> Iterator[str]:
    """Modules that no other module imports, also lazily or as a name in text ("gateway.app:create"), and no entry starts."""
    used = set(entries)
    for module in every:
        used |= imported(module) - {module.name}
    for module in every:
        if not module.is_package and module.name not in used:
            yield f"{module.path}: nothing imports it; remove it"


def imported(module: Module) -> set[str]:
    package = module.name if module.is_package else module.name.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(module.tree):
        match node:
            case ast.Import(names=names):
                found |= {name.name for name in names}
            case ast.ImportFrom(module=source, names=names, level=level):
                above = ".".join(package.split(".")[: len(package.split(".")) - level + 1]) if level else ""
                base = ".".join(part for part in (above, source) if part)
                found |= {base} | {f"{base}.{name.name}" for name in names}
            case ast.Constant(value=str(text)) if text.startswith(PACKAGES):
                found.add(text.partition(":")[0])
            case _:
                pass
    return found


def transactions(module: Module) -> Iterator[str]:
    if any(module.name == owner or module.name.startswith(owner + ".") for owner in TRANSACTION_OWNERS):
        return
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "transaction":
            yield f"{module.path}:{node.lineno}: opens a transaction; take a connection and let the story open it"


def built_sql(module: Module) -> Iterator[str]:
    """Statements that are not literals, or literals joined by + with literals of the same module."""
    literals: dict[str, ast.expr] = {}
    for node in module.tree.body:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ):
                literals[name] = value
            case _:
                pass
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.value if isinstance(node.func, ast.Subscript) else node.func
        name = called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""
        if name in STATEMENTS:
            sql = [*node.args[STATEMENTS[name] :], *(word.value for word in node.keywords if word.arg == "sql")]
            if not sql or not all(_is_literal(part, literals) for part in sql):
                yield f"{module.path}:{node.lineno}: the SQL of a {name} is one literal, or literals of its module joined by +"
        elif name in EXECUTES and node.args and _is_built(node.args[0]):
            yield f"{module.path}:{node.lineno}: SQL put together at run time; pass values as parameters"


def _is_literal(node: ast.expr, literals: Mapping[str, ast.expr], depth: int = 9) -> bool:
    match node:
        case ast.Constant(value=str()):
            return True
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _is_literal(left, literals, depth) and _is_literal(right, literals, depth)
        case ast.Name(id=name) if name in literals and depth:
            return _is_literal(literals[name], literals, depth - 1)
        case _:
            return False


def _is_built(node: ast.expr) -> bool:
    match node:
        case ast.JoinedStr():
            return True
        case ast.BinOp(left=left, right=right):
            return any(isinstance(side, ast.JoinedStr) or not _is_literal(side, {}) for side in (left, right))
        case ast.Call(func=ast.Attribute(value=ast.Constant(value=str()), attr="format" | "join" | "replace")):
            return True
        case _:
            return False


def unfinished(path: str, text: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), 1):
        if found := UNFINISHED.search(line):
            yield f"{path}:{number}: '{found[0]}': do it or leave it out"
        silenced = SILENCED.search(line)
        if silenced and not REASON.match(silenced["rest"].strip()):
            yield f"{path}:{number}: a silenced check names its rule and gives its reason in the same line"


def broken_links(path: str, text: str, root: Path = ROOT) -> Iterator[str]:
    for found in LINK.finditer(FENCED.sub("", text)):
        target = (found["target"] or found["image"]).partition("#")[0]
        if target and not re.match(r"[a-z]+:", target) and not (root / Path(path).parent / target).exists():
            yield f"{path}: links to {target}, which is not there"


def make_targets(makefile: str) -> set[str]:
    return {name for line in re.findall(r"^\.PHONY:(.*)$", makefile, re.MULTILINE) for name in line.split()}


def unnamed_targets(makefile: str, texts: str) -> Iterator[str]:
    for name in sorted(make_targets(makefile)):
        if not re.search(rf"\bmake {re.escape(name)}\b", texts):
            yield f"make {name}: no README says what it does"
