"""The reasons for dead letters in the database, in record headers and in metrics."""

from enum import StrEnum


class DeadLetterReason(StrEnum):
    """The reasons for dead letters. Never rename a value: rows and the code of other teams contain it."""

    NOT_JSON = "not_json"
    CONTRACT_VIOLATION = "contract_violation"
    VALUE_MISSING = "value_missing"
    VALUE_TOO_LARGE = "value_too_large"
    TOO_DEEP = "too_deep"
    BAD_TEXT = "bad_text"
    NUMBER_OUT_OF_RANGE = "number_out_of_range"
    UNSUPPORTED_SCHEMA_VERSION = "unsupported_schema_version"
    CONFLICTING_REGISTRATION = "conflicting_registration"
    UPLOAD_ALREADY_PROVISIONED = "upload_already_provisioned"
    BATCH_PURGED = "batch_purged"
    TOO_MANY_PARKED = "too_many_parked"
    NEVER_REGISTERED = "never_registered"
    UNKNOWN_ESSAY = "unknown_essay"
    CLASS_MISMATCH = "class_mismatch"
    GUEST_BATCH = "guest_batch"
    DATABASE_REFUSED = "database_refused"
    UNPROCESSABLE = "unprocessable"
