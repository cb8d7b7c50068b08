-- without transaction
-- How many exports of a token are unfinished is counted before it may order another.
DROP INDEX CONCURRENTLY IF EXISTS exports_unfinished_by_owner;
CREATE INDEX CONCURRENTLY exports_unfinished_by_owner ON exports (owner) WHERE state IN ('queued', 'running');
