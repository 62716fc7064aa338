-- Version 12: generations that name files.

-- The files as JSON, with their digests; NULL if there are none.
ALTER TABLE generation ADD COLUMN files TEXT;
