"""The relay publishes outbox events to Kafka, in order per batch; any number of relays may run."""

from els_stream.relay.options import RelayOptions
from els_stream.relay.service import Relay
from els_stream.relay.status import RelayStatus

__all__ = ["Relay", "RelayOptions", "RelayStatus"]
