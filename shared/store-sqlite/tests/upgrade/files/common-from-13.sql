-- What versions from 13 on wrote besides: the one order of all events, a row a commit. keys are those of the commit's events, each as
-- what it is more or less than the one before, zigzag and in groups of seven bits.
INSERT INTO feed (seq, at, keys) VALUES
    (1, 1000, x'828008808008808008808008808008'), -- tasks 1 to 5 are created
    (6, 2000, x'848010808008808008'), -- 2, 3 and 4 are claimed
    (9, 3000, x'868018'), -- 3 is completed
    (10, 3500, x'868020'), -- 4 has failed
    (11, 4000, x'848028'); -- 5 is called off
