"""The envelope around every event that comes in."""

from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar
from uuid import UUID

from msgspec import Meta
from pydantic import Field

from els_stream.events.fields import Contract, Identifier, JsonObject, UtcTime

DataT_co = TypeVar("DataT_co", bound=Contract, covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope(Contract, Generic[DataT_co]):
    """Its `correlation_id` is the one that counts: the one that some events repeat in `data` is checked, never used."""

    event_id: UUID
    event_type: str
    event_timestamp: UtcTime
    source_service: Identifier
    # Not a Literal: pydantic takes `true` and `1.0` for a literal 1.
    schema_version: Annotated[int, Field(ge=1, le=1), Meta(ge=1, le=1)]
    correlation_id: UUID
    data_schema_uri: str | None = None
    data: DataT_co
    metadata: JsonObject | None = None
