-- Imports, their chunks of rows, and the rows that were rejected.
CREATE TABLE imports (
    id uuid PRIMARY KEY,
    position bigint NOT NULL DEFAULT nextval('catalogue_positions'),
    state text NOT NULL CHECK (state IN ('receiving', 'queued', 'running', 'succeeded', 'failed', 'cancelled')),
    outcome text CHECK (outcome IN ('succeeded', 'failed')),  -- what it becomes once every chunk is done
    error_code text,
    error_message text,
    format text NOT NULL,
    owner text NOT NULL,
    idempotency_key text,
    body_sha256 bytea,                       -- set when the whole body was read
    receiver integer NOT NULL DEFAULT 1,     -- fences off a receiver that was given up
    receiver_until timestamptz NOT NULL,
    request_id text NOT NULL,
    rows_received bigint NOT NULL DEFAULT 0,
    rows_imported bigint NOT NULL DEFAULT 0,
    rows_rejected bigint NOT NULL DEFAULT 0,
    chunks_total integer NOT NULL DEFAULT 0,
    chunks_done integer NOT NULL DEFAULT 0,
    chunks_redelivered integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    finished_at timestamptz,
    UNIQUE (owner, idempotency_key)
) WITH (fillfactor = 50);

CREATE INDEX imports_by_age ON imports (created_at, id);
CREATE INDEX imports_receiving ON imports (receiver_until) WHERE state = 'receiving';

CREATE TABLE import_chunks (
    import_id uuid NOT NULL REFERENCES imports ON DELETE CASCADE,
    number integer NOT NULL,
    first_line bigint NOT NULL,
    rows integer NOT NULL,
    rejected integer NOT NULL,
    is_partial boolean NOT NULL,             -- cut short by the end of a broken upload
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'done', 'dead')),
    redelivered integer NOT NULL DEFAULT 0,
    payload bytea COMPRESSION lz4,           -- what COPY reads; emptied by purge-expired
    payload_sha256 bytea NOT NULL,
    done_at timestamptz,
    PRIMARY KEY (import_id, number)
);

CREATE TABLE import_errors (
    import_id uuid NOT NULL REFERENCES imports ON DELETE CASCADE,
    line bigint NOT NULL,
    code text NOT NULL,
    message text NOT NULL,
    PRIMARY KEY (import_id, line)
);
