-- The log of any number of processes. `number` stands for a channel in the big tables. Texts are compared by their bytes.

CREATE SCHEMA catalyst;

-- One row: the newest migration that was applied, and the oldest code (by the newest migration it brings) that can still
-- work with it. Each later migration updates `version`, and one that older code cannot live with is a `post` and sets `oldest`.
CREATE TABLE catalyst.schema (
    version integer NOT NULL,
    oldest  integer NOT NULL
);
INSERT INTO catalyst.schema (version, oldest) VALUES (1, 1);

-- Whoever changes a channel has its row here locked, so that numbers are given out in the order of commits.
CREATE TABLE catalyst.heads (
    channel     text COLLATE "C" PRIMARY KEY,
    number      integer GENERATED ALWAYS AS IDENTITY,
    first       bigint NOT NULL,            -- the first kept seq
    last        bigint NOT NULL,            -- the newest given out, or the end of a void
    durable     bigint NOT NULL DEFAULT 0,  -- up to here a standby had everything, as of the newest commit but one
    ts_us       bigint NOT NULL,            -- of the newest commit: never goes back
    epoch       text NOT NULL,              -- the present one's name, as in `epochs`
    erasures    bigint NOT NULL DEFAULT 0,  -- how often a body was taken away: a replica that knows fewer still has one
    hash_before bytea NOT NULL,             -- of the event before `first`
    hash        bytea NOT NULL              -- of the newest event: what the next one joins
) WITH (fillfactor = 25);

CREATE TABLE catalyst.epochs (
    number      integer NOT NULL,
    first       bigint NOT NULL,
    name        text NOT NULL,
    last_before bigint NOT NULL,
    hash_before bytea NOT NULL,
    reason      text NOT NULL,
    PRIMARY KEY (number, first)
);

CREATE TABLE catalyst.events (
    number    integer NOT NULL,
    version   integer NOT NULL,
    seq       bigint NOT NULL,
    ts_us     bigint NOT NULL,
    type      text NOT NULL,
    id        text NOT NULL,
    salt      bytea NOT NULL,
    body_hash bytea NOT NULL,
    hash      bytea NOT NULL,
    body      bytea NOT NULL,
    PRIMARY KEY (number, seq)
);

-- Kept for ever, also when the event was dropped: an id is never used twice.
CREATE TABLE catalyst.ids (
    number     integer NOT NULL,
    version    integer NOT NULL,
    seq        bigint NOT NULL,
    ts_us      bigint NOT NULL,
    id         text COLLATE "C" NOT NULL,
    subject    text NOT NULL,
    draft_hash bytea NOT NULL,
    PRIMARY KEY (number, id)
);

CREATE TABLE catalyst.kept (
    name     text COLLATE "C" NOT NULL,
    channel  text COLLATE "C" NOT NULL,
    seq      bigint NOT NULL,
    state    bytea NOT NULL,
    holder   text,
    until_us bigint NOT NULL,
    PRIMARY KEY (name, channel)
);

-- One row: until when, by this server's clock, nothing may be changed, and where the log is once it has moved.
CREATE TABLE catalyst.fence (
    until_us bigint NOT NULL,
    moved_to text NOT NULL
);
INSERT INTO catalyst.fence (until_us, moved_to) VALUES (0, '');
