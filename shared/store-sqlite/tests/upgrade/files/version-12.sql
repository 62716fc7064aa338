-- Version 12: generations that name files.

UPDATE generation SET files =
    '[{"path":"tasks/3/a.png","size":812,"sha256":"0000000000000000000000000000000000000000000000000000000000000000","content_type":"image/png"}]'
WHERE n = 3;
