-- The trace that a job or delivery belongs to, for the messages that follow from it.
ALTER TABLE imports ADD COLUMN traceparent text;
ALTER TABLE exports ADD COLUMN traceparent text;
ALTER TABLE deliveries ADD COLUMN traceparent text;
