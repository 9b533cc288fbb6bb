"""Reads quantiles from the histograms that a worker shows to Prometheus."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TypeAlias

from prometheus_client.metrics_core import Metric

Buckets: TypeAlias = dict[str, dict[float, float]]
"""Cumulative counts by upper bound, of each histogram."""


def bucket_counts(families: Iterable[Metric], names: Collection[str]) -> Buckets:
    """Return the counts of these histograms, over all topics."""
    counts: Buckets = {name: {} for name in names}
    for family in families:
        for sample in family.samples if family.name in counts else ():
            if sample.name.endswith("_bucket"):
                bound = float(sample.labels["le"])
                counts[family.name][bound] = counts[family.name].get(bound, 0.0) + sample.value
    return counts


def quantile(cumulative: Mapping[float, float], share: float) -> float:
    """Return a quantile of a histogram, interpolated within its bucket as Prometheus does; 0 if it is empty."""
    bounds = sorted(cumulative)
    wanted = cumulative[bounds[-1]] * share if bounds else 0.0
    below, lower = 0.0, 0.0
    for bound in bounds:
        if wanted and cumulative[bound] >= wanted:
            if bound == float("inf"):
                return lower
            return lower + (bound - lower) * (wanted - below) / (cumulative[bound] - below)
        below, lower = cumulative[bound], bound
    return 0.0
