"""What a worker answers over HTTP, on Faust's own web server: probes, metrics, JSON, and the page that shows it."""

from els_stream.observability.health import Health
from els_stream.observability.health_poller import Watch
from els_stream.web.dashboard import Site, Sources
from els_stream.web.probes import register, web_options

__all__ = ["Health", "Site", "Sources", "Watch", "register", "web_options"]
