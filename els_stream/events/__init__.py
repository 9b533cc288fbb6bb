"""The wire contract: models and decoder of input events, builders of output events, their ids, headers and topics."""
