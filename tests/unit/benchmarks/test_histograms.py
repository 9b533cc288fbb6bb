import pytest

from tests.benchmarks.histograms import quantile

INFINITE = float("inf")


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.5, 1.5), (0.9, 4.0), (1.0, 4.0)],
)
def test_a_quantile_is_interpolated_within_its_bucket(share: float, expected: float) -> None:
    """Of ten values four are at most 1, two more at most 2, and one is larger than the last bound."""
    cumulative = {1.0: 4.0, 2.0: 6.0, 4.0: 9.0, INFINITE: 10.0}
    assert quantile(cumulative, share) == pytest.approx(expected)


def test_an_empty_histogram_has_the_quantile_0() -> None:
    assert quantile({1.0: 0.0, INFINITE: 0.0}, 0.99) == 0
    assert quantile({}, 0.99) == 0
