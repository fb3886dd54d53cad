"""What a user hands over (a configuration, a corpus) is read as data: nothing in it is ever run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import qmgen

PACKAGE = Path(qmgen.__file__).parent
#: modules that run what they read, or hand out objects that do
FORBIDDEN_MODULES = {
    "pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml", "runpy", "code",
}  # fmt: skip
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
#: names of our own modules, from our own code: none comes from a file
IMPORTS_BY_NAME = {"__init__.py", "pipeline/stages.py", "processes.py", "benchmark/engines.py"}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield str(path.relative_to(PACKAGE)), ast.parse(path.read_text(encoding="utf-8"))


def offences(tree: ast.AST, name: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (f"import {a.name}" for a in node.names if a.name.split(".")[0] in FORBIDDEN_MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in FORBIDDEN_MODULES:
            yield f"from {node.module}"
        elif isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Name) and called.id in FORBIDDEN_CALLS:
                yield f"{called.id}()"
            if (
                "import_module" in (getattr(called, "id", ""), getattr(called, "attr", ""))
                and name not in IMPORTS_BY_NAME
            ):
                yield "import_module()"
            for keyword in node.keywords:
                refused = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
                through_shell = keyword.arg == "shell" and getattr(called, "attr", "") in ("run", "Popen", "call")
                if (keyword.arg in ("allow_pickle", "trust_remote_code") or through_shell) and not refused:
                    yield f"{keyword.arg}="


def test_no_module_runs_what_it_reads() -> None:
    assert [(name, offence) for name, tree in modules() for offence in offences(tree, name)] == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle", "from yaml import load", "eval(text)", "exec(text)", "np.load(path, allow_pickle=True)",
        "importlib.import_module(name)", "subprocess.run(text, shell=True)", "__import__(name)",
    ],
)  # fmt: skip
def test_the_search_finds_what_it_is_for(code: str) -> None:
    assert list(offences(ast.parse(code), "corpus/reader.py"))


def test_settings_that_name_modules_cannot_come_from_a_file() -> None:
    """Stations are functions of our own code; no configuration has such a setting."""
    from qmgen.config import GenerateConfig
    from qmgen.pipeline.stages import Stages

    assert "stages" not in GenerateConfig.model_fields
    assert not any("stages" in str(field.annotation).lower() for field in GenerateConfig.model_fields.values())
    assert not vars(Stages())


def test_metadata_of_a_corpus_are_json_and_nothing_else() -> None:
    from qmgen.corpus.schema import decode

    hostile = b"__import__('os').system('false')"
    arrow = {
        b"qmgen.recipe": hostile,
        b"qmgen.unit": b'{"entries": 1}',
        b"ARROW:extension:name": b"arrow.py_extension_type",
    }
    assert decode(arrow) == {"recipe": hostile.decode(), "unit": {"entries": 1}}
