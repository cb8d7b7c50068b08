-- without transaction
-- The subscriptions of a token are counted before it may make another, and end with the token.
DROP INDEX CONCURRENTLY IF EXISTS subscriptions_by_owner;
CREATE INDEX CONCURRENTLY subscriptions_by_owner ON subscriptions (owner);
UPDATE subscriptions SET state = 'disabled', disabled_reason = 'its token was revoked'
    FROM tokens WHERE owner = 'token:' || tokens.id AND revoked_at IS NOT NULL AND state = 'active';
