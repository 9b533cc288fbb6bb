from __future__ import annotations

import pytest

from els_stream.backoff import Backoff

ATTEMPTS = (1, 2, 3, 4, 5, 999)


def test_delays_double_up_to_the_longest() -> None:
    assert [Backoff(0.1, 1).bound(attempt) for attempt in ATTEMPTS] == [0.1, 0.2, 0.4, 0.8, 1, 1]


@pytest.mark.parametrize(("drawn", "full", "equal"), [(0.0, 0, 0.5), (0.5, 0.5, 0.75), (1.0, 1, 1)])
def test_delays_are_spread_below_their_bound(drawn: float, full: float, equal: float) -> None:
    backoff = Backoff(0.1, 1, lambda: drawn)
    assert (backoff.full_jitter(9), backoff.equal_jitter(9)) == (full, equal)
