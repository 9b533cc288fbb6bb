"""The version of package, metrics and events; the only place that states it."""

VERSION = "0.2.0"
