-- The feed of each space: what `storage/src/feed/redb/tables.rs` is for redb. Only SQL that PostgreSQL, CockroachDB and YugabyteDB share.
-- The column by column description is in docs/storage.md. Times are milliseconds since 1970; hashes are 32 bytes.

CREATE TABLE headwater.spaces (
    space uuid PRIMARY KEY,
    epoch uuid NOT NULL,
    head_seq bigint NOT NULL,
    head_chain bytea NOT NULL
);

CREATE TABLE headwater.feed (
    space uuid NOT NULL,
    seq bigint NOT NULL,
    entity uuid NOT NULL,
    hash bytea NOT NULL,
    kind smallint NOT NULL,
    collection text NOT NULL,
    origin uuid NOT NULL,
    pushed_by text,
    received_ms bigint NOT NULL,
    chain bytea NOT NULL,
    bytes bigint NOT NULL,
    payload bytea NOT NULL,
    -- The seq of the verdict that says that the payload is damaged. The row stays, since the chain runs through it.
    lost_by bigint,
    PRIMARY KEY (space, seq)
);

-- Which changes are known, and at which seq; and the changes of one entity.
CREATE UNIQUE INDEX feed_known ON headwater.feed (space, entity, hash) INCLUDE (seq) WHERE lost_by IS NULL;
CREATE INDEX feed_lost ON headwater.feed (space, seq) WHERE lost_by IS NOT NULL;

CREATE TABLE headwater.heads (
    space uuid NOT NULL,
    entity uuid NOT NULL,
    last_seq bigint NOT NULL,
    changes bigint NOT NULL,
    collection text NOT NULL,
    -- 32 bytes each, ascending.
    heads bytea NOT NULL,
    -- The highest operation number, if all its changes came with numbers.
    last_op bigint,
    PRIMARY KEY (space, entity)
);

CREATE INDEX heads_last ON headwater.heads (space, last_seq);

-- The number of each author's last change of an entity, for entities whose changes came with numbers.
CREATE TABLE headwater.authors (
    space uuid NOT NULL,
    entity uuid NOT NULL,
    author bytea NOT NULL,
    number bigint NOT NULL,
    PRIMARY KEY (space, entity, author)
);

CREATE TABLE headwater.quarantine (
    space uuid NOT NULL,
    entity uuid NOT NULL,
    hash bytea NOT NULL,
    verdict bigint NOT NULL,
    at_ms bigint NOT NULL,
    code integer NOT NULL,
    message text NOT NULL,
    PRIMARY KEY (space, entity, hash)
);

CREATE TABLE headwater.snapshots (
    space uuid NOT NULL,
    entity uuid NOT NULL,
    covers bigint NOT NULL,
    changes bigint NOT NULL,
    changes_bytes bigint NOT NULL,
    hash bytea NOT NULL,
    bytes bigint NOT NULL,
    -- SHA-256 of the payload.
    digest bytea NOT NULL,
    payload bytea NOT NULL,
    PRIMARY KEY (space, entity)
);

CREATE TABLE headwater.progress (
    space uuid NOT NULL,
    name text NOT NULL,
    seq bigint NOT NULL,
    PRIMARY KEY (space, name)
);

CREATE TABLE headwater.audit (
    space uuid NOT NULL,
    first_seq bigint NOT NULL,
    last_seq bigint NOT NULL,
    at_ms bigint NOT NULL,
    device uuid NOT NULL,
    address text,
    pushed_by text,
    changes integer NOT NULL,
    PRIMARY KEY (space, first_seq)
);

CREATE INDEX audit_at ON headwater.audit (at_ms);
