-- without transaction
-- What purge-expired looks for. Neither index holds a column that imports change, so rows are still updated in place.
DROP INDEX CONCURRENTLY IF EXISTS products_deleted;
CREATE INDEX CONCURRENTLY products_deleted ON products (deleted_job) WHERE deleted_job IS NOT NULL;
DROP INDEX CONCURRENTLY IF EXISTS import_chunks_kept;
CREATE INDEX CONCURRENTLY import_chunks_kept ON import_chunks (import_id) WHERE payload IS NOT NULL AND state = 'done';
