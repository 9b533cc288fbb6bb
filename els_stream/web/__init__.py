"""What a worker answers over HTTP, on Faust's own web server: probes, metrics, JSON, and the page that shows it."""

from els_stream.observability.health import Health
from els_stream.observability.health_poller import HealthPoller
from els_stream.web.dashboard import Dashboard, DashboardSources
from els_stream.web.probes import register, web_options

__all__ = ["Dashboard", "DashboardSources", "Health", "HealthPoller", "register", "web_options"]
