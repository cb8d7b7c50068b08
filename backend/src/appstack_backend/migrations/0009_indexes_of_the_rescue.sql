-- without transaction
-- What sweep-outbox looks for: work that is to be done. Progress changes no column of either index.
DROP INDEX CONCURRENTLY IF EXISTS imports_unfinished;
CREATE INDEX CONCURRENTLY imports_unfinished ON imports (created_at) WHERE state IN ('queued', 'running');
DROP INDEX CONCURRENTLY IF EXISTS exports_unfinished;
CREATE INDEX CONCURRENTLY exports_unfinished ON exports (created_at) WHERE state IN ('queued', 'running');
