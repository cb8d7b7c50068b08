-- Until when nothing is sent of what waits for a subscription, since its target is left alone.
ALTER TABLE subscriptions ADD COLUMN rests_until timestamptz;
