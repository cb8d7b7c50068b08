-- Exports: the file is kept in pieces, so that any instance can stream it.
CREATE TABLE exports (
    id uuid PRIMARY KEY,
    state text NOT NULL CHECK (state IN ('queued', 'running', 'succeeded', 'failed')),
    error_code text,
    format text NOT NULL CHECK (format IN ('csv', 'ndjson')),
    filter jsonb NOT NULL,
    owner text NOT NULL,
    request_id text NOT NULL,
    rows bigint NOT NULL DEFAULT 0,
    bytes bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    finished_at timestamptz
);
CREATE INDEX exports_by_age ON exports (created_at, id);

CREATE TABLE export_pieces (
    export_id uuid NOT NULL REFERENCES exports ON DELETE CASCADE,
    number integer NOT NULL,
    content bytea COMPRESSION lz4 NOT NULL,
    PRIMARY KEY (export_id, number)
);

CREATE TABLE catalogue_counts (
    kind text NOT NULL CHECK (kind IN ('category', 'supplier')),
    name text COLLATE "C" NOT NULL,
    products bigint NOT NULL,
    PRIMARY KEY (kind, name)
);
