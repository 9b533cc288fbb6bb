"""aiokafka's clients, kept from creating topics; the rest of this project takes them from here.

Brokers with `auto.create.topics.enable`, which is Kafka's default, create a topic when a client asks for its metadata:
with the broker's number of partitions, retention and limits, and also right after somebody deleted it. aiokafka's
requests allow that and have no option; only Kafka's own field `allow_auto_topic_creation` (KIP-204, version 4 of the
request) forbids it. So its default is changed here for the whole process, before any client exists.
"""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.metadata import MetadataRequest

__all__ = ["AIOKafkaAdminClient", "AIOKafkaConsumer", "AIOKafkaProducer"]

_NO_TOPICS, _FORBID_CREATION = None, False

MetadataRequest.__init__.__defaults__ = (_NO_TOPICS, _FORBID_CREATION)
