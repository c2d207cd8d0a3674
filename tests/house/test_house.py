"""The house: names, sizes, borders and promises of the repository that no tool checks."""

import ast
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from headwater.cli.main import COMMANDS

REPOSITORY = Path(__file__).parents[2]
SOURCES = sorted(
    path
    for folder in ("runtime", "tests", "products")
    for path in (REPOSITORY / folder).rglob("*.py")
)
MAX_LINES = 400
FORBIDDEN_NAMES = {"utils", "util", "common", "core", "base", "helpers", "helper", "manager"}
PRODUCTS = sorted((REPOSITORY / "products").rglob("product.py"))


def named(path: Path) -> str:
    """A path as a test's id."""
    return str(path.relative_to(REPOSITORY))


def test_no_file_is_longer_than_its_budget() -> None:
    """To exceed it, split."""
    lengths = {named(path): len(path.read_text().splitlines()) for path in SOURCES}
    assert {name: lines for name, lines in lengths.items() if lines > MAX_LINES} == {}


def test_no_module_has_a_name_that_says_nothing() -> None:
    """A name says what is inside."""
    empty = [path for path in SOURCES if FORBIDDEN_NAMES & {path.stem, *path.parts}]
    assert empty == []


def test_every_test_is_a_sentence_and_states_its_promise() -> None:
    """At least three words, and a docstring."""
    silent = []
    for path in SOURCES:
        if not path.name.startswith("test_"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if not node.name.startswith("test_"):
                continue
            if node.name.count("_") < 3 or ast.get_docstring(node) is None:
                silent.append(f"{named(path)}:{node.lineno} {node.name}")
    assert silent == []


def test_tests_make_the_clients_of_confluent_in_one_place() -> None:
    """Left at its defaults such a client waits for ever (tests/registry/confluent.py)."""
    made = re.compile(r"\b(SchemaRegistryClient|Avro(Des|S)erializer)\(")
    tests = [path for path in SOURCES if "tests" in path.relative_to(REPOSITORY).parts[:1]]
    makers = [named(path) for path in tests if made.search(path.read_text())]
    assert makers == ["tests/registry/confluent.py"]


def test_tests_stand_in_the_folder_of_a_room() -> None:
    """Collected by path: a package there would bring module names into conflict."""
    assert [path for path in SOURCES if path.match("tests/**/__init__.py")] == []
    assert list((REPOSITORY / "tests").glob("test_*.py")) == []


def test_there_are_products_to_look_at() -> None:
    """The next test would be empty without."""
    assert PRODUCTS


@pytest.mark.parametrize("path", PRODUCTS, ids=named)
def test_products_import_only_the_public_door(path: Path) -> None:
    """`from headwater import ...`, and never a room."""
    rooms = []
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        rooms += [name for name in names if name.startswith("headwater.")]
    assert rooms == []


@pytest.mark.parametrize("command", COMMANDS)
def test_the_readme_names_every_command(command: str) -> None:
    """Nobody has to find one by accident."""
    assert f"`headwater {command}`" in (REPOSITORY / "README.md").read_text()


def test_every_link_within_the_repository_leads_somewhere() -> None:
    """In all Markdown pages."""
    pages = [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")]
    dead = [
        f"{named(page)}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert dead == []


def test_the_lock_holds_hashes_and_no_addresses() -> None:
    """It installs from any index, and only what was resolved."""
    text = (REPOSITORY / "requirements.lock").read_text()
    for word in ("http:", "https:", "file:", "--index", "--extra-index", "--find-links", " @ "):
        assert word not in text
    requirements = re.split(r"\n(?=\S)", text.strip())
    assert len(requirements) > 50
    assert [line for line in requirements if "==" not in line or "--hash=sha256:" not in line] == []


def test_the_lock_holds_every_direct_dependency() -> None:
    """A dependency added without `make lock` is found here."""
    lock = (REPOSITORY / "requirements.lock").read_text()
    locked = set(re.findall(r"^([a-z0-9.-]+)==", lock, re.MULTILINE))
    declared = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    wanted = [
        *declared["build-system"]["requires"],
        *declared["project"]["dependencies"],
        *(w for extra in declared["project"]["optional-dependencies"].values() for w in extra),
        *declared["dependency-groups"]["check"],
    ]
    names = {re.split(r"[\[<>=~!; ]", want)[0].lower().replace("_", "-") for want in wanted}
    assert names - locked == set()


def test_every_dependency_is_weighed_in_a_decision() -> None:
    """docs/decisions/0002-dependencies.md names each."""
    text = (REPOSITORY / "docs/decisions/0002-dependencies.md").read_text()
    declared = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    wanted = [
        *declared["project"]["dependencies"],
        *(w for extra in declared["project"]["optional-dependencies"].values() for w in extra),
        *declared["dependency-groups"]["check"],
    ]
    names = {re.split(r"[\[<>=~!; ]", want)[0] for want in wanted}
    assert {name for name in names if not re.search(rf"\b{re.escape(name)}\b", text)} == set()


def test_every_suppression_of_a_budget_says_why() -> None:
    """In what we ship, a `noqa` names its rule and is followed by a reason on its line."""
    bare = [
        f"{named(path)}:{number}"
        for path in SOURCES
        if path.parts[len(REPOSITORY.parts)] in {"runtime", "products"}
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if "# noqa" in line and not re.search(r"# noqa: [A-Z]+\d+(, [A-Z]+\d+)*\W+\w", line)
    ]
    assert bare == []


def test_the_gates_before_a_commit_are_those_of_make_check() -> None:
    """Nobody learns from CI what the machine could have told."""
    hooks = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())["repos"][0][
        "hooks"
    ]
    makefile = (REPOSITORY / "Makefile").read_text()
    check = makefile.split("\ncheck:")[1].split("\n\n")[0]
    gates = set(re.findall(r"\$\(BIN\)/([a-z-]+)", check))
    assert {hook["entry"].split()[0].removeprefix(".venv/bin/") for hook in hooks} == gates


def test_ci_runs_what_people_run() -> None:
    """The gates and the tests, and the file can be executed."""
    run = REPOSITORY / ".ci/run"
    assert re.findall(r"^make (\w+)$", run.read_text(), re.MULTILINE) == ["check", "test"]
    assert run.stat().st_mode & 0o111
