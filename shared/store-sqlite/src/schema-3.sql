-- Version 3: why a queue was paused, and whether a task has ever named it; who asked for what is audited, and why; the order of
-- heartbeats and claims.

ALTER TABLE queue ADD COLUMN reason TEXT;
-- A queue that no task has named goes when it is resumed. Of those that there are, only the present tasks tell.
ALTER TABLE queue ADD COLUMN used INTEGER NOT NULL DEFAULT 0;
UPDATE queue SET used = 1 WHERE EXISTS (SELECT 1 FROM task INDEXED BY task_by_queue WHERE task.queue = queue.name);

-- By the request's own word.
ALTER TABLE audit ADD COLUMN asked_by TEXT;
ALTER TABLE audit ADD COLUMN reason TEXT;

-- How many heartbeats of a worker were recorded, and how many there were when it claimed a task: which came first is told
-- by these and by no clock.
ALTER TABLE worker ADD COLUMN beats INTEGER NOT NULL DEFAULT 0;
ALTER TABLE task ADD COLUMN beats INTEGER;
