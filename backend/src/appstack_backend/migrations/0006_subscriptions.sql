-- Subscriptions, what is to be delivered to them, and which targets are left alone for a while.
CREATE TABLE subscriptions (
    id uuid PRIMARY KEY,
    owner text NOT NULL,
    url text NOT NULL,
    events text[] NOT NULL,
    secret text NOT NULL,                    -- needed to sign, so it cannot be a hash
    state text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'disabled')),
    disabled_reason text,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX subscriptions_by_event ON subscriptions USING gin (events) WHERE state = 'active';

CREATE TABLE deliveries (
    id uuid PRIMARY KEY,
    subscription_id uuid NOT NULL REFERENCES subscriptions ON DELETE CASCADE,
    event_id text NOT NULL,                  -- the message that told of the event: one delivery for each
    event text NOT NULL,
    payload text NOT NULL,                   -- exactly the bytes that are signed and sent, each time
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'dead')),
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz,             -- null while a message is on its way
    last_status integer,
    last_error text,
    request_id text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    UNIQUE (subscription_id, event_id)
);
CREATE INDEX deliveries_due ON deliveries (next_attempt_at) WHERE state = 'pending';
CREATE INDEX deliveries_by_age ON deliveries (subscription_id, created_at, id);
CREATE INDEX deliveries_finished ON deliveries (finished_at) WHERE finished_at IS NOT NULL;

CREATE TABLE webhook_targets (
    origin text PRIMARY KEY,                 -- scheme://host:port
    failures integer NOT NULL DEFAULT 0,     -- in a row
    open_until timestamptz                   -- the breaker is open until then; then one attempt probes
);
