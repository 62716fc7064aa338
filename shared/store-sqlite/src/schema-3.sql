-- Version 3: why a queue was paused, and whether a task has ever named it; who asked for what is audited, and why; the order of
-- heartbeats and claims; when a worker said that it ends; tasks that were lost with their workers, and starts of one name that live at once.

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

-- How often in a row the task was lost with its worker.
ALTER TABLE task ADD COLUMN worker_losses INTEGER NOT NULL DEFAULT 0;

-- When it last showed that two starts of the worker's name live; null if it never did.
ALTER TABLE worker ADD COLUMN contested_at INTEGER;

-- Log lines are numbered by when they were received, and no longer by the time that they bear: one that was dated far ahead
-- stayed the newest. Of two that were received in one millisecond, the order stays. The inner maximum moves a line on where a
-- millisecond has more lines than numbers.
CREATE TEMP TABLE log_moved AS
SELECT n + max(first - n) OVER (ORDER BY n) AS k, at, taken_at, worker, task, level, source, message, metadata
FROM (SELECT row_number() OVER (ORDER BY taken_at, k) AS n, taken_at << 15 AS first, * FROM log);
DELETE FROM log;
INSERT INTO log SELECT k, at, taken_at, worker, task, level, source, message, metadata FROM log_moved;
DROP TABLE log_moved;

-- How long the work took by the worker's word, in milliseconds; null if it did not say.
ALTER TABLE generation ADD COLUMN ran INTEGER;

-- Tasks that wait for another attempt, to be counted apart from those that were never claimed. A task that goes the usual
-- way is never in it, and so pays nothing for it.
CREATE INDEX task_retry ON task (queue, run_after) WHERE state = 0 AND attempt > 0;

-- Of an earlier start, when its place was taken and whether it was heard of since are kept from now on.
UPDATE worker SET superseded = (
    SELECT json_group_array(json_object('session', value, 'at', '1970-01-01T00:00:00Z', 'heard', json('false')))
    FROM json_each(superseded)
) WHERE superseded <> '[]';

-- When it said that it ends; null if it has not, or was heard of since.
ALTER TABLE worker ADD COLUMN ended_at INTEGER;

-- What the reaper notes for its next round, as JSON; one row.
CREATE TABLE reaper_round (n INTEGER PRIMARY KEY, note TEXT NOT NULL) STRICT;

-- Whose a worker's name is that belongs to no project: one byte for callers without bounds, else a digest of the queues that they
-- are bound to; null if that is not known, as the record is of before: who uses the name next makes it theirs.
ALTER TABLE worker ADD COLUMN owner BLOB;

-- Tasks that wait to be given out alone: they are in the indexes above, too, so that their turn is found where all others' is.
CREATE INDEX task_alone ON task (queue, priority, run_after, id) WHERE state = 0 AND worker_losses >= 2;

-- Which of them a worker runs (then the attempt is there) or makes room for (then, until when).
ALTER TABLE worker ADD COLUMN alone_task BLOB;
ALTER TABLE worker ADD COLUMN alone_attempt INTEGER;
ALTER TABLE worker ADD COLUMN alone_until INTEGER;
CREATE INDEX worker_makes_room ON worker (alone_task) WHERE alone_until IS NOT NULL;
