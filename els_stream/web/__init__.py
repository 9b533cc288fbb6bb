"""The worker's HTTP server, built on Faust's: probes, metrics, the JSON API and the dashboard page."""

from els_stream.web.dashboard import Dashboard, DashboardSources
from els_stream.web.probes import register_probes, web_options

__all__ = ["Dashboard", "DashboardSources", "register_probes", "web_options"]
