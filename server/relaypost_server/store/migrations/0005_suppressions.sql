-- Addresses that get no more messages, and what receipts need in order to put an address there.

ALTER TABLE relaypost.messages
    ADD COLUMN IF NOT EXISTS caller text NOT NULL DEFAULT ''; -- that asked for it, or empty

ALTER TABLE relaypost.delivery_events
    ADD COLUMN recipients text[] NOT NULL DEFAULT '{}', -- whom the event is about, as addresses are compared
    ADD COLUMN suppression text;                        -- why they are to get no more messages; NULL: no reason

CREATE TABLE relaypost.suppressions (
    address text NOT NULL,               -- as addresses are compared: in lower case
    caller text NOT NULL,                -- whose messages it is about; '*': everybody's
    reason text NOT NULL,
    source text NOT NULL,                -- who says so: event, provider or manual
    provider text NOT NULL,              -- that told, or empty
    message_id uuid,                     -- of the message that brought it about
    note text NOT NULL,
    create_time timestamptz NOT NULL,
    expire_time timestamptz,             -- NULL: never
    remove_time timestamptz,             -- not NULL: removed, and kept until every replica knows
    change xid8 NOT NULL DEFAULT pg_current_xact_id(), -- the transaction that changed the row last
    PRIMARY KEY (address, caller)
);

CREATE INDEX suppressions_by_change ON relaypost.suppressions (change, address, caller);

-- When each provider's own list was read last, by whichever replica did.
CREATE TABLE relaypost.opt_out_reads (
    provider text PRIMARY KEY,
    read_time timestamptz NOT NULL
);
