-- One row once the log is in another store: its URL. Code that does not know the table must not write then, so whoever
-- writes the row sets `oldest` to 2.
CREATE TABLE moved (
    url TEXT NOT NULL
) STRICT;

UPDATE schema SET version = 2;
