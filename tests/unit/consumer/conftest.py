from __future__ import annotations

import pytest

from tests.support.consumer_fakes import Stage


@pytest.fixture
def stage() -> Stage:
    return Stage()
