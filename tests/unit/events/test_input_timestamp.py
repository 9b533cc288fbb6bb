from __future__ import annotations

import pytest

from els_stream.events.input_timestamp import age_seconds, truncate_timestamp

NOW = 1_764_000_000_123
DAY = 86_400_000


@pytest.mark.parametrize("age", [0, 1, 999, 60_000, DAY, 24 * DAY])
@pytest.mark.parametrize("now", [NOW, 2**31 * 900, 2**31 * 900 + 5])
def test_the_age_of_a_record_is_exact_for_24_days(age: int, now: int) -> None:
    truncated = truncate_timestamp(now - age)

    assert truncated is not None
    assert truncated < 2**31
    assert age_seconds(truncated, now) == age / 1000


def test_a_record_from_a_clock_that_is_ahead_has_age_zero() -> None:
    truncated = truncate_timestamp(NOW + 30_000)

    assert truncated is not None
    assert age_seconds(truncated, NOW) == 0


def test_a_record_without_a_timestamp_has_no_age() -> None:
    assert truncate_timestamp(-1) is None
