from __future__ import annotations

import pytest

from els_stream.events.input_timestamp import age_seconds, truncate_timestamp

NOW = 1_764_000_000_123
DAY = 86_400_000


@pytest.mark.parametrize("age", [0, 1, 999, 60_000, DAY, 24 * DAY])
@pytest.mark.parametrize("now", [NOW, 2**31 * 900, 2**31 * 900 + 5])
def test_the_age_of_a_record_survives_31_bits(age: int, now: int) -> None:
    stamp = truncate_timestamp(now - age)

    assert stamp is not None
    assert stamp < 2**31
    assert age_seconds(stamp, now) == age / 1000


def test_a_record_of_a_clock_that_is_ahead_is_new() -> None:
    stamp = truncate_timestamp(NOW + 30_000)

    assert stamp is not None
    assert age_seconds(stamp, NOW) == 0


def test_a_record_without_a_timestamp_has_no_age() -> None:
    assert truncate_timestamp(-1) is None
