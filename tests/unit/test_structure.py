"""Rules for the whole source tree that no tool checks: unique class names, sizes, docstrings, and plain words."""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

from els_stream.config.setting_types import CHECKOUT

PACKAGES = ("els_stream", "agents", "tables")
MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 60

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def modules() -> dict[str, ast.Module]:
    """Return the syntax tree of each module of the packages, by its path in the checkout."""
    paths = [path for package in PACKAGES for path in sorted((CHECKOUT / package).rglob("*.py"))]
    return {path.relative_to(CHECKOUT).as_posix(): ast.parse(path.read_text()) for path in paths}


def test_class_names_are_unique() -> None:
    names = Counter(
        node.name for module in modules().values() for node in ast.walk(module) if isinstance(node, ast.ClassDef)
    )

    assert {name for name, count in names.items() if count > 1} == set()


def test_no_file_is_longer_than_300_lines() -> None:
    lengths = {path: len((CHECKOUT / path).read_text().splitlines()) for path in modules()}

    assert {path: length for path, length in lengths.items() if length > MAX_FILE_LINES} == {}


def test_no_function_is_longer_than_60_lines() -> None:
    lengths = {
        f"{path}:{node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for path, module in modules().items()
        for node in ast.walk(module)
        if isinstance(node, FunctionNode)
    }

    assert {name: length for name, length in lengths.items() if length > MAX_FUNCTION_LINES} == {}


def test_every_package_has_a_docstring() -> None:
    packages = {path: module for path, module in modules().items() if path.endswith("/__init__.py")}

    assert [path for path, module in packages.items() if not ast.get_docstring(module)] == []


# Words that this project once used in a sense of its own. The glossary has the words that it uses now. One letter of
# each is in brackets, as in `grep '[p]attern'`, so that a search for the word does not find the list.
PRIVATE_WORDS = frozenset(
    re.sub(r"[\[\]]", "", line) for line in Path(__file__).with_name("private_words.txt").read_text().split()
)
# Where such a word is plain English or a name.
ALLOWED = {
    "docs/runbook.md": {"forgotten"},  # the right to be forgotten
    "docs/settings.md": {"letters"},  # letters and digits
    "els_stream/config/renamed_settings.py": {"lane", "parked"},  # old names
    "els_stream/config/setting_types.py": {"letters"},  # letters and digits
    "els_stream/embedded/unprivileged.py": {"nobody"},  # an account
    "els_stream/events/json_checks.py": {"letter"},  # a single letter
    "tests/acceptance/test_servers.py": {"nobody"},  # an account
    "tests/kafka/security/test_failures_at_start.py": {"nobody"},  # a user
    "tests/postgres/db/test_upgrade_from_0_1.py": {"parked"},  # old names
    "tests/postgres/maintenance/test_erasure.py": {"nobody"},  # a batch
    "tests/unit/commands/test_failures.py": {"nobody"},  # an error of others
    "tests/unit/config/test_settings.py": {"lane"},  # old names
    "tests/unit/demo/test_check_fields.py": {"nobody"},  # a batch and a text
    "tests/unit/embedded/test_unprivileged.py": {"nobody"},  # an account
    "tests/unit/events/test_contract_rules.py": {"story"},  # a title
}
TERMS = re.compile(r"dead[ _.-]?letters?|too_many_parked", re.IGNORECASE)
# Words of prose, and the words that names consist of: `batch_ids` and `BatchEvent` contain `batch`.
WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def texts() -> dict[str, str]:
    """Return the text of the code and the documents by path, without terms that contain such a word for good."""
    folders = [CHECKOUT / name for name in (*PACKAGES, "docs", "tests")]
    own = Path(__file__)  # it has the words
    paths = [
        path
        for folder in folders
        for path in folder.rglob("*")
        if path.suffix in {".py", ".js", ".html", ".md"} and path != own
    ]
    paths += [path for path in CHECKOUT.glob("*.md") if path.name != "CHANGELOG.md"]
    return {path.relative_to(CHECKOUT).as_posix(): TERMS.sub("", path.read_text()) for path in paths}


def private_words(text: str) -> frozenset[str]:
    return PRIVATE_WORDS.intersection(word.lower() for word in WORD.findall(text))


def test_code_and_docs_use_no_private_words() -> None:
    found = {path: private_words(text) - ALLOWED.get(path, set()) for path, text in texts().items()}

    assert {path: words for path, words in found.items() if words} == {}


def test_private_words_are_found_in_prose_and_in_names() -> None:
    for word in PRIVATE_WORDS:
        for form in (word, f"`{word}_ids`", f"`{word.title()}Event`", word.upper()):
            assert private_words(f"What was {form}.") == {word}
        assert private_words(f"not{word}ish") == set()
