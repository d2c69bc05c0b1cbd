-- The STOP and START replies that changed the suppression list. Each counts once, by the provider's own id, because the
-- signature of an old reply never expires. No address and no text.
CREATE TABLE relaypost.replies (
    provider text NOT NULL,
    reply_id text NOT NULL,
    receive_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (provider, reply_id)
);
