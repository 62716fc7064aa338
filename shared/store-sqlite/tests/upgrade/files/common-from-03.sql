-- What versions from 3 on wrote besides: that a task has named the queue, how many heartbeats there were, and whose the worker's name is.
UPDATE queue SET used = 1 WHERE name = 'default';
UPDATE worker SET beats = 1, owner = x'00' WHERE id = 'w1';
UPDATE task SET beats = 1 WHERE n = 2;
UPDATE generation SET ran = 900 WHERE n = 3;
