-- When a target failed last: one that failed long ago is forgotten by purge-expired. Its `origin` begins with the owner of
-- the subscriptions that it stands for.
ALTER TABLE webhook_targets ADD COLUMN failed_at timestamptz NOT NULL DEFAULT now();
