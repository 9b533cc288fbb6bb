"""Outbox rows to Kafka, in order per batch, by any number of relays."""

from els_stream.relay.options import RelayOptions
from els_stream.relay.service import Relay, RelayStatus

__all__ = ["Relay", "RelayOptions", "RelayStatus"]
