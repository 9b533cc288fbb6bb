"""The internals of aiokafka 0.14 that `els_stream.kafka.connection` overrides or uses: a table that a test verifies."""

from __future__ import annotations

from typing import Final

from els_stream.consumer.faust_internals import OverriddenInternal

USED_BY_CONNECTIONS: Final = (
    # Our connections: what is passed on to them, and the login that is also a renewal.
    OverriddenInternal("aiokafka.client:AIOKafkaClient._get_conn", source="sasl_plain_password=self._sasl_plain"),
    OverriddenInternal("aiokafka.conn:AIOKafkaConnection.connect", source="await self._do_sasl_handshake()"),
    OverriddenInternal("aiokafka.conn:AIOKafkaConnection.send", "(self, request, expect_response=True)"),
    OverriddenInternal("aiokafka.conn:AIOKafkaConnection.close", "(self, reason=None, exc=None)"),
    OverriddenInternal(
        "aiokafka.conn:AIOKafkaConnection._do_sasl_handshake",
        source="resp = await self.send(SaslAuthenticateRequest(payload))",
    ),
    OverriddenInternal(
        "aiokafka.conn:AIOKafkaConnection._do_sasl_handshake", source="authenticator = self.authenticator_oauth()"
    ),
)
