from __future__ import annotations

import pytest

from tests.support.consumer_fakes import ProcessorHarness


@pytest.fixture
def harness() -> ProcessorHarness:
    return ProcessorHarness()
