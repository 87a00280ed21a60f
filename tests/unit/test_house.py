"""The house: import direction, what loads when, and documents that say what the code does."""

from __future__ import annotations

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
ALLOWED = {
    "analyzer": {"analyzer"},
    "strategies": {"analyzer", "strategies"},
    "reports": {"analyzer", "reports"},
}
ROOMS = ["network", "inputs", "measures", "conversion"]


def imports_of(path):
    """Absolute dotted names, within the package, of everything that a module imports, wherever in it."""
    package = ("bitplan", *path.relative_to(ROOT).parent.parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (module if node.module else f"{module}.{alias.name}" for alias in node.names)


def modules(folder):
    return sorted(p for p in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("folder", sorted(ALLOWED))
def test_imports_point_one_way(folder):
    for path in modules(folder):
        for name in imports_of(path):
            target = name.split(".")[1] if name.count(".") else ""
            assert target in ALLOWED[folder], f"{path.relative_to(ROOT)} imports {name}"


def test_reports_know_nothing_but_the_schema():
    for path in modules("reports"):
        for name in imports_of(path):
            if name.startswith("bitplan.analyzer"):
                assert name == "bitplan.analyzer.schema", f"{path.relative_to(ROOT)} imports {name}"


def test_rooms_of_the_analyzer_lie_in_the_order_of_the_data():
    for position, room in enumerate(ROOMS):
        later = [f"bitplan.analyzer.{other}" for other in ROOMS[position + 1 :]]
        for path in modules(f"analyzer/{room}"):
            for name in imports_of(path):
                assert not name.startswith(tuple(later)), f"{path.relative_to(ROOT)} imports {name}"


def test_only_the_runtime_runs_the_interpreter():
    users = [
        path.relative_to(ROOT).as_posix()
        for folder in ALLOWED
        for path in modules(folder)
        if "Interpreter(" in path.read_text() or "import interpreter" in path.read_text()
    ]
    assert users == ["analyzer/network/runtime.py"]


def test_help_loads_neither_tensorflow_nor_litert():
    code = (
        "import sys, bitplan.cli\n"
        "try:\n    bitplan.cli.app(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'tensorflow', 'keras', 'ai_edge_litert', 'litert_quantizer', 'altair', 'scipy', 'numpy'}\n"
        "print('LOADED', sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip().endswith("LOADED []")


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, bitplan; print(sorted({'numpy', 'tensorflow'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_cli_reference_is_what_the_commands_say(tmp_path):
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        from cli_reference import TARGET, reference
    finally:
        sys.path.pop(0)
    assert TARGET.read_text() == reference(), "run: python docs/cli_reference.py"


def test_every_command_has_help_an_example_and_json():
    import typer
    from bitplan.cli import app

    group = typer.main.get_command(app)
    for name, command in group.commands.items():
        assert command.help, name
        assert command.epilog.startswith(f"bitplan {name}"), name
        assert any("--json" in parameter.opts for parameter in command.params), name


def test_ci_installs_and_tests_as_the_readme_says():
    readme, script = (ROOT / "README.md").read_text(), (ROOT / ".ci" / "run").read_text()
    assert "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/bitplan demo" in readme
    assert ".venv/bin/pip install '.[dev]' && .venv/bin/pytest" in readme
    for step in ('pip" install --quiet .\n', 'bitplan" demo', "pip\" install --quiet '.[dev]'", 'pytest"'):
        assert step in script


def test_every_dependency_has_its_reason():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    text = (ROOT / "ARCHITECTURE.md").read_text()
    for requirement in (*project["dependencies"], *project["optional-dependencies"]["dev"]):
        name = requirement.split(">")[0]
        assert f"`{name}`" in text, name


def test_every_package_is_listed():
    import tomllib

    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {"bitplan"} | {
        ".".join(("bitplan", *path.relative_to(ROOT).parent.parts))
        for folder in ALLOWED
        for path in (ROOT / folder).rglob("__init__.py")
    }
    assert found == listed
