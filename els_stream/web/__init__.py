"""What a worker answers over HTTP, on Faust's own web server: probes and metrics."""

from els_stream.web.health import Health
from els_stream.web.views import register, web_options
from els_stream.web.watch import Watch

__all__ = ["Health", "Watch", "register", "web_options"]
