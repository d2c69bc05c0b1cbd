-- Which queued messages workers are to send: the engine in this database. No address and no text.

CREATE TABLE relaypost.pointers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,   -- in the order of coming
    lane text NOT NULL,
    pointer text NOT NULL,                                -- as core.queue.Pointer writes it
    heartbeat_time timestamptz                            -- when its worker was last heard of; NULL: it is waiting
);

CREATE INDEX pointers_waiting ON relaypost.pointers (lane, id) WHERE heartbeat_time IS NULL;
CREATE INDEX pointers_taken ON relaypost.pointers (heartbeat_time) WHERE heartbeat_time IS NOT NULL;

-- Every take leaves index entries of rows that are gone at the front of the line; a vacuum clears them.
ALTER TABLE relaypost.pointers SET (
    autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0
);

-- 0.1.0 kept its pointers in the tables of PgQueuer. Those that a worker has are carried over as well: a pointer that
-- comes twice leads to nothing. What is no pointer is left behind.
DO $$
BEGIN
    IF to_regclass('relaypost.pgqueuer') IS NOT NULL THEN
        -- A gateway of 0.1 may be storing one now: what it commits before the table goes must be seen.
        LOCK TABLE relaypost.pgqueuer IN ACCESS EXCLUSIVE MODE;
        INSERT INTO relaypost.pointers (lane, pointer)
        SELECT entrypoint, encode(payload, 'escape')
        FROM relaypost.pgqueuer
        WHERE encode(payload, 'escape') ~ '^(email|sms) [0-9a-f-]{36}$'
        ORDER BY id;
    END IF;
END
$$;
DROP TABLE IF EXISTS
    relaypost.pgqueuer, relaypost.pgqueuer_log, relaypost.pgqueuer_schedules, relaypost.pgqueuer_statistics;
DROP FUNCTION IF EXISTS relaypost.fn_pgqueuer_changed();
DROP TYPE IF EXISTS relaypost.pgqueuer_status, relaypost.pgqueuer_statistics_status;
