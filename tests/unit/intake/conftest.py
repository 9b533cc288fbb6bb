from __future__ import annotations

import pytest

from tests.unit.intake.fakes import Stage


@pytest.fixture
def stage() -> Stage:
    return Stage()
