-- without transaction
-- Each subscription's share of what is due: who has something, and what of it comes first.
DROP INDEX CONCURRENTLY IF EXISTS deliveries_waiting;
CREATE INDEX CONCURRENTLY deliveries_waiting ON deliveries (subscription_id, next_attempt_at)
    WHERE state = 'pending' AND next_attempt_at IS NOT NULL;
