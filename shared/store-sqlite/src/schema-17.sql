-- Version 17. Since when a worker is to drain or stop, who has asked for it and why, as JSON; null while it is to run, and where an earlier
-- version has asked.
ALTER TABLE worker ADD COLUMN directed TEXT;
