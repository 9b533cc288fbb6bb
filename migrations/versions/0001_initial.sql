CREATE TABLE batch_essay_trackers (
    batch_id TEXT NOT NULL,
    state TEXT DEFAULT 'unregistered' NOT NULL,
    inventory TEXT,
    class_type TEXT,
    expected_count INTEGER,
    free_count INTEGER DEFAULT '0' NOT NULL,
    filled_count INTEGER DEFAULT '0' NOT NULL,
    failed_count INTEGER DEFAULT '0' NOT NULL,
    parked_count INTEGER DEFAULT '0' NOT NULL,
    conflict_count INTEGER DEFAULT '0' NOT NULL,
    next_sequence BIGINT DEFAULT '1' NOT NULL,
    registration_digest BYTEA,
    course_code TEXT,
    user_id TEXT,
    org_id TEXT,
    class_id TEXT,
    correlation_id UUID,
    student_prompt_ref JSONB,
    deadline_at TIMESTAMP WITH TIME ZONE,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    registered_at TIMESTAMP WITH TIME ZONE,
    content_completed_at TIMESTAMP WITH TIME ZONE,
    associations_confirmed_at TIMESTAMP WITH TIME ZONE,
    completed_at TIMESTAMP WITH TIME ZONE,
    timed_out_at TIMESTAMP WITH TIME ZONE,
    purged_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_batch_essay_trackers PRIMARY KEY (batch_id),
    CONSTRAINT ck_batch_essay_trackers_batch_id_length CHECK (length(batch_id) BETWEEN 1 AND 255),
    CONSTRAINT ck_batch_essay_trackers_state
        CHECK (state IN ('unregistered', 'open', 'content_complete', 'completed', 'purged')),
    CONSTRAINT ck_batch_essay_trackers_inventory CHECK (inventory IN ('essay_states', 'slot_assignments')),
    CONSTRAINT ck_batch_essay_trackers_class_type CHECK (class_type IN ('GUEST', 'REGULAR')),
    CONSTRAINT ck_batch_essay_trackers_counts_not_negative
        CHECK (free_count >= 0 AND filled_count >= 0 AND failed_count >= 0 AND parked_count >= 0),
    CONSTRAINT ck_batch_essay_trackers_counts_add_up
        CHECK (expected_count IS NULL OR free_count + filled_count + failed_count = expected_count),
    CONSTRAINT ck_batch_essay_trackers_registered
        CHECK ((state = 'unregistered') = (registered_at IS NULL)
            AND (state = 'unregistered') = (expected_count IS NULL)
            AND (state = 'unregistered') = (class_type IS NULL)),
    CONSTRAINT ck_batch_essay_trackers_what_a_registration_says
        CHECK (state IN ('unregistered', 'purged')
            OR (inventory IS NOT NULL AND registration_digest IS NOT NULL AND course_code IS NOT NULL
                AND user_id IS NOT NULL AND correlation_id IS NOT NULL AND deadline_at IS NOT NULL)),
    CONSTRAINT ck_batch_essay_trackers_parked_only_unregistered
        CHECK (state = 'unregistered' OR parked_count = 0),
    CONSTRAINT ck_batch_essay_trackers_completion
        CHECK (state = 'purged'
            OR (state IN ('content_complete', 'completed')) = (content_completed_at IS NOT NULL)
            AND (state = 'completed') = (completed_at IS NOT NULL)
            AND (state NOT IN ('content_complete', 'completed') OR free_count = 0)),
    CONSTRAINT ck_batch_essay_trackers_purged CHECK ((state = 'purged') = (purged_at IS NOT NULL)),
    CONSTRAINT ck_batch_essay_trackers_open_has_free_slots CHECK (state <> 'open' OR free_count > 0)
)
WITH (fillfactor = 70);
CREATE INDEX ix_batch_essay_trackers_class_type_state ON batch_essay_trackers (class_type, state);
CREATE INDEX ix_batch_essay_trackers_completed ON batch_essay_trackers (completed_at) WHERE state = 'completed';
CREATE INDEX ix_batch_essay_trackers_deadline ON batch_essay_trackers (deadline_at)
    WHERE state = 'open' AND timed_out_at IS NULL;
CREATE INDEX ix_batch_essay_trackers_unregistered ON batch_essay_trackers (created_at)
    WHERE state = 'unregistered';
COMMENT ON COLUMN batch_essay_trackers.inventory
    IS 'which table holds the slots; chosen at registration, kept for good';
COMMENT ON COLUMN batch_essay_trackers.conflict_count IS 'refused registrations';
COMMENT ON COLUMN batch_essay_trackers.next_sequence IS 'of the batch''s outbox rows';
COMMENT ON COLUMN batch_essay_trackers.registration_digest IS 'SHA-256 over what makes two registrations equal';

CREATE TABLE consumed_offsets (
    consumer_group TEXT NOT NULL,
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    next_offset BIGINT NOT NULL,
    record_timestamp BIGINT,
    record_crc BIGINT,
    caught_up_at TIMESTAMP WITH TIME ZONE,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_consumed_offsets PRIMARY KEY (consumer_group, topic, partition),
    CONSTRAINT ck_consumed_offsets_next_offset_not_negative CHECK (next_offset >= 0),
    CONSTRAINT ck_consumed_offsets_record_mark CHECK ((record_timestamp IS NULL) = (record_crc IS NULL))
)
WITH (fillfactor = 50);
COMMENT ON COLUMN consumed_offsets.topic IS 'as the broker knows it, with the prefix of an environment';
COMMENT ON COLUMN consumed_offsets.record_timestamp
    IS 'of the last handled record, milliseconds since the epoch';
COMMENT ON COLUMN consumed_offsets.record_crc IS 'CRC-32 over key and value of the last handled record';
COMMENT ON COLUMN consumed_offsets.caught_up_at IS 'an end offset read after this time was reached';

CREATE TABLE dead_letters (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    batch_id TEXT,
    reason TEXT NOT NULL,
    message TEXT NOT NULL,
    source_topic TEXT NOT NULL,
    source_partition INTEGER NOT NULL,
    source_offset BIGINT NOT NULL,
    source_timestamp BIGINT NOT NULL,
    key BYTEA,
    value BYTEA,
    value_size BIGINT NOT NULL,
    value_sha256 BYTEA NOT NULL,
    headers BYTEA NOT NULL,
    state TEXT DEFAULT 'open' NOT NULL,
    replay_of BIGINT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    settled_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_dead_letters PRIMARY KEY (id),
    CONSTRAINT fk_dead_letters_dead_letters FOREIGN KEY (replay_of)
        REFERENCES dead_letters (id) ON DELETE SET NULL,
    CONSTRAINT ck_dead_letters_state CHECK (state IN ('open', 'replayed', 'dropped')),
    CONSTRAINT ck_dead_letters_settled CHECK ((state = 'open') = (settled_at IS NULL))
);
CREATE INDEX ix_dead_letters_batch_id ON dead_letters (batch_id) WHERE batch_id IS NOT NULL;
CREATE INDEX ix_dead_letters_created_at ON dead_letters (created_at);
CREATE INDEX ix_dead_letters_replay_of ON dead_letters (replay_of);
CREATE UNIQUE INDEX uq_dead_letters_source
    ON dead_letters (source_topic, source_partition, source_offset, source_timestamp) WHERE replay_of IS NULL;
COMMENT ON COLUMN dead_letters.batch_id IS 'where the record could be read that far';
COMMENT ON COLUMN dead_letters.source_timestamp IS 'milliseconds since the epoch';
COMMENT ON COLUMN dead_letters.value IS 'the original bytes; gone with a purge';
COMMENT ON COLUMN dead_letters.headers IS 'JSON: [[name, value as Latin-1], ...]';
COMMENT ON COLUMN dead_letters.replay_of IS 'the dead letter whose replay failed into this one';

CREATE TABLE event_outbox (
    order_key TEXT NOT NULL,
    event_id UUID NOT NULL,
    share SMALLINT NOT NULL,
    position BIGINT GENERATED ALWAYS AS IDENTITY,
    sequence BIGINT NOT NULL,
    topic TEXT NOT NULL,
    key BYTEA,
    value BYTEA,
    headers BYTEA NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    attempts INTEGER DEFAULT '0' NOT NULL,
    held_until TIMESTAMP WITH TIME ZONE,
    last_error TEXT,
    CONSTRAINT pk_event_outbox PRIMARY KEY (order_key, event_id),
    CONSTRAINT ck_event_outbox_share CHECK (share BETWEEN 0 AND 63)
);
CREATE INDEX ix_event_outbox_held ON event_outbox (order_key) WHERE held_until IS NOT NULL;
CREATE UNIQUE INDEX uq_event_outbox_position ON event_outbox (share, position);
COMMENT ON COLUMN event_outbox.order_key IS 'the batch id; a dead letter is its own';
COMMENT ON COLUMN event_outbox.share IS 'hash of order_key; one relay at a time owns a share';
COMMENT ON COLUMN event_outbox.sequence IS 'per order_key, from the tracker under its lock';
COMMENT ON COLUMN event_outbox.topic IS 'logical name, without the prefix of an environment';
COMMENT ON COLUMN event_outbox.headers IS 'JSON: [[name, value as Latin-1], ...]';
COMMENT ON COLUMN event_outbox.held_until IS 'cannot be sent as it is; it holds back its order_key';

CREATE TABLE purge_log (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    action TEXT NOT NULL,
    class_type TEXT,
    older_than_days INTEGER,
    batches BIGINT NOT NULL,
    removed JSONB NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    finished_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_purge_log PRIMARY KEY (id),
    CONSTRAINT ck_purge_log_action
        CHECK (action IN ('purge', 'purge_abandoned', 'erase_batch', 'erase_student')),
    CONSTRAINT ck_purge_log_batches_not_negative CHECK (batches >= 0)
);
COMMENT ON COLUMN purge_log.removed IS 'rows removed by table; never anything of a person';

CREATE TABLE batch_excess_content (
    batch_id TEXT NOT NULL,
    text_storage_id TEXT NOT NULL,
    file_upload_id TEXT NOT NULL,
    original_file_name TEXT NOT NULL,
    correlation_id UUID NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_batch_excess_content PRIMARY KEY (batch_id, text_storage_id),
    CONSTRAINT fk_batch_excess_content_batch_essay_trackers FOREIGN KEY (batch_id)
        REFERENCES batch_essay_trackers (batch_id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX uq_batch_excess_content_upload ON batch_excess_content (batch_id, file_upload_id);

CREATE TABLE batch_pending_events (
    batch_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    arrival BIGINT GENERATED ALWAYS AS IDENTITY,
    source_topic TEXT NOT NULL,
    source_partition INTEGER NOT NULL,
    source_offset BIGINT NOT NULL,
    source_timestamp BIGINT NOT NULL,
    key BYTEA,
    value BYTEA NOT NULL,
    headers BYTEA NOT NULL,
    parked_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_batch_pending_events PRIMARY KEY (batch_id, kind, subject),
    CONSTRAINT fk_batch_pending_events_batch_essay_trackers FOREIGN KEY (batch_id)
        REFERENCES batch_essay_trackers (batch_id) ON DELETE CASCADE,
    CONSTRAINT ck_batch_pending_events_kind
        CHECK (kind IN ('content_provisioned', 'validation_failed', 'associations_confirmed'))
);
CREATE INDEX ix_batch_pending_events_parked_at ON batch_pending_events (parked_at);
CREATE UNIQUE INDEX uq_batch_pending_events_arrival ON batch_pending_events (batch_id, arrival);
COMMENT ON COLUMN batch_pending_events.subject IS 'what makes a second delivery a repeat of the first';
COMMENT ON COLUMN batch_pending_events.arrival IS 'order over all kinds of a batch';
COMMENT ON COLUMN batch_pending_events.source_timestamp IS 'milliseconds since the epoch';
COMMENT ON COLUMN batch_pending_events.headers IS 'JSON: [[name, value as Latin-1], ...]';

CREATE TABLE batch_validation_failures (
    batch_id TEXT NOT NULL,
    file_upload_id TEXT NOT NULL,
    original_file_name TEXT NOT NULL,
    raw_file_storage_id TEXT NOT NULL,
    error_code TEXT NOT NULL,
    error_detail JSONB NOT NULL,
    file_size_bytes BIGINT NOT NULL,
    correlation_id UUID NOT NULL,
    failed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_batch_validation_failures PRIMARY KEY (batch_id, file_upload_id),
    CONSTRAINT fk_batch_validation_failures_batch_essay_trackers FOREIGN KEY (batch_id)
        REFERENCES batch_essay_trackers (batch_id) ON DELETE CASCADE
);

CREATE TABLE essay_states (
    batch_id TEXT NOT NULL,
    essay_id TEXT NOT NULL,
    current_status TEXT DEFAULT 'uploaded' NOT NULL,
    text_storage_id TEXT,
    file_upload_id TEXT,
    original_file_name TEXT,
    raw_file_storage_id TEXT,
    file_size_bytes BIGINT,
    content_md5_hash TEXT,
    correlation_id UUID,
    filled_at TIMESTAMP WITH TIME ZONE,
    failed_at TIMESTAMP WITH TIME ZONE,
    processing_metadata JSONB,
    storage_references JSONB,
    timeline JSONB,
    student_id TEXT,
    association_method TEXT,
    association_confidence DOUBLE PRECISION,
    associated_by TEXT,
    associated_at TIMESTAMP WITH TIME ZONE,
    version INTEGER DEFAULT '1' NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_essay_states PRIMARY KEY (batch_id, essay_id),
    CONSTRAINT fk_essay_states_batch_essay_trackers FOREIGN KEY (batch_id)
        REFERENCES batch_essay_trackers (batch_id) ON DELETE CASCADE,
    CONSTRAINT ck_essay_states_essay_id_length CHECK (length(essay_id) BETWEEN 1 AND 255),
    CONSTRAINT ck_essay_states_filled CHECK ((text_storage_id IS NOT NULL) = (filled_at IS NOT NULL)),
    CONSTRAINT ck_essay_states_failed
        CHECK (current_status <> 'content_ingestion_failed' OR failed_at IS NOT NULL),
    CONSTRAINT ck_essay_states_filled_or_failed CHECK (text_storage_id IS NULL OR failed_at IS NULL),
    CONSTRAINT ck_essay_states_held_by_an_upload
        CHECK (file_upload_id IS NOT NULL OR (text_storage_id IS NULL AND failed_at IS NULL)),
    CONSTRAINT ck_essay_states_association_confidence CHECK (association_confidence BETWEEN 0 AND 1),
    CONSTRAINT ck_essay_states_association_method CHECK (association_method IN ('human', 'timeout', 'auto'))
);
CREATE INDEX ix_essay_states_free ON essay_states (batch_id, essay_id)
    WHERE current_status = 'uploaded' AND text_storage_id IS NULL AND failed_at IS NULL;
CREATE UNIQUE INDEX uq_essay_states_text ON essay_states (batch_id, text_storage_id)
    WHERE text_storage_id IS NOT NULL;
CREATE UNIQUE INDEX uq_essay_states_upload ON essay_states (batch_id, file_upload_id)
    WHERE file_upload_id IS NOT NULL;
COMMENT ON COLUMN essay_states.file_upload_id IS 'of the content, or of the failed file, that holds the slot';
COMMENT ON COLUMN essay_states.correlation_id IS 'of the content or failure that holds the slot';
COMMENT ON COLUMN essay_states.associated_at IS 'validated_at of the association that holds';

CREATE TABLE slot_assignments (
    batch_id TEXT NOT NULL,
    essay_id TEXT NOT NULL,
    status TEXT DEFAULT 'available' NOT NULL,
    text_storage_id TEXT,
    file_upload_id TEXT,
    assigned_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_slot_assignments PRIMARY KEY (batch_id, essay_id),
    CONSTRAINT fk_slot_assignments_batch_essay_trackers FOREIGN KEY (batch_id)
        REFERENCES batch_essay_trackers (batch_id) ON DELETE CASCADE,
    CONSTRAINT ck_slot_assignments_status CHECK (status IN ('available', 'assigned', 'failed')),
    CONSTRAINT ck_slot_assignments_assigned CHECK ((status = 'assigned') = (text_storage_id IS NOT NULL)),
    CONSTRAINT ck_slot_assignments_held_by_an_upload CHECK ((status = 'available') = (file_upload_id IS NULL))
);
CREATE INDEX ix_slot_assignments_available ON slot_assignments (batch_id, essay_id) WHERE status = 'available';
CREATE UNIQUE INDEX uq_slot_assignments_text ON slot_assignments (batch_id, text_storage_id)
    WHERE text_storage_id IS NOT NULL;
CREATE UNIQUE INDEX uq_slot_assignments_upload ON slot_assignments (batch_id, file_upload_id)
    WHERE file_upload_id IS NOT NULL;
