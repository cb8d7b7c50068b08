-- A deleted product stays as a tombstone: lines of imports that were accepted before must not bring it back.
-- It is visible again once a later line or change wrote it.
ALTER TABLE products ADD COLUMN deleted_job bigint;
