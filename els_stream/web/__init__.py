"""What a worker answers over HTTP, on Faust's own web server: probes, metrics, JSON, and the page that shows it."""

from els_stream.web.health import Health
from els_stream.web.site import Site, Sources
from els_stream.web.views import register, web_options
from els_stream.web.watch import Watch

__all__ = ["Health", "Site", "Sources", "Watch", "register", "web_options"]
