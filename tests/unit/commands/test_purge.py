"""Options of `els purge` and `els erase` are checked before anything is done."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from els_stream.cli import main


@pytest.mark.parametrize("days", ["0", "-3", "soon", "1.5"])
def test_purge_rejects_an_invalid_age(days: str) -> None:
    result = CliRunner().invoke(main, ["purge", "--older-than-days", days])

    assert result.exit_code == 2
    assert "--older-than-days" in result.stderr


def test_purge_needs_an_age() -> None:
    assert CliRunner().invoke(main, ["purge"]).exit_code == 2


@pytest.mark.parametrize("arguments", [[], ["a-batch", "--student", "someone"]])
def test_erase_needs_a_batch_or_a_student(arguments: list[str]) -> None:
    assert CliRunner().invoke(main, ["erase", *arguments]).exit_code == 2
