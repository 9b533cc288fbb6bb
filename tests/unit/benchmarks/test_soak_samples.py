from tests.benchmarks.soak_samples import Sample, summary


def test_the_last_quarter_is_compared_with_the_second_by_medians() -> None:
    lags = {0: 900.0, 10: 800.0, 15: 2.0, 20: 4.0, 25: 3.0, 31: 700.0, 40: 600.0, 48: 8.0, 52: 9.0, 56: 500.0, 60: 7.0}
    samples = [Sample(second, {"lag": lag}) for second, lag in lags.items()]

    assert summary(samples) == {"lag": (3.0, 8.5)}
