-- Version 16. Where a task stands in its producer's trace: a traceparent of W3C Trace Context and, after a space, its tracestate.
ALTER TABLE task ADD COLUMN trace TEXT;
