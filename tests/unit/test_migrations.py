from __future__ import annotations

import ast
import hashlib
import io
import re
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from els_stream.db.schema import FOLDER, revisions
from tests.support.generated_docs import DOCS

RELEASED = Path(__file__).with_name("released_migrations.txt")
REVISION_FILES = sorted(path for path in (FOLDER / "versions").iterdir() if path.is_file())


def imported_by(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    modules += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    return {module.partition(".")[0] for module in modules}


def test_released_migrations_are_unchanged() -> None:
    present = [f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in REVISION_FILES]

    assert [line for line in RELEASED.read_text().splitlines() if not line.startswith("#")] == present


def test_migrations_import_nothing_of_the_service() -> None:
    imports = {
        path.name: imported_by(path) & {"els_stream", "tables", "agents"}
        for path in REVISION_FILES
        if path.suffix == ".py"
    }

    assert not any(imports.values()), imports


def test_the_runbook_names_the_migrations_before_which_workers_are_stopped() -> None:
    """All others run while workers of the last release go on."""
    (page,) = re.findall(r"^## Upgrade$(.*?)(?:^## |\Z)", (DOCS / "runbook.md").read_text(), re.MULTILINE | re.DOTALL)
    stopped = {
        path.name[:4]
        for path in REVISION_FILES
        if path.suffix == ".py"
        and re.search(r"\bstop\b", (ast.get_docstring(ast.parse(path.read_text())) or "").lower())
    }

    assert stopped == {"0006", "0007", "0012"} == set(re.findall(r"\b00\d\d\b", page))


def test_the_names_of_the_files_begin_with_the_revisions() -> None:
    """Workers read them there."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    scripts = ScriptDirectory.from_config(config)
    (head,) = scripts.get_heads()

    assert revisions() == (head, frozenset(script.revision for script in scripts.walk_revisions()))


def test_migrations_can_be_printed_as_sql_without_a_database() -> None:
    written = io.StringIO()
    config = Config(output_buffer=written)
    config.set_main_option("script_location", str(FOLDER))

    command.upgrade(config, "head", sql=True)

    assert "CREATE TABLE batch_essay_trackers" in written.getvalue()
    assert "INSERT INTO els_schema_version" in written.getvalue()
