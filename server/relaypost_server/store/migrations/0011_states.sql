-- What people wrote to a provider's number that changed the suppression list: each counts once, by the provider's
-- own id, for a request with an old STOP or START in it stays signed for ever. No address and no text.
CREATE TABLE relaypost.replies (
    provider text NOT NULL,
    reply_id text NOT NULL,
    receive_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (provider, reply_id)
);
