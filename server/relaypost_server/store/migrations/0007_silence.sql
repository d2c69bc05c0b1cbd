-- Messages that are sent once more because nothing confirmed the first send, and what becomes of messages by country.

ALTER TABLE relaypost.messages
    ADD COLUMN IF NOT EXISTS country text NOT NULL DEFAULT '', -- of the phone, or empty
    ADD COLUMN sent_again_time timestamptz,              -- when the second send was claimed, or NULL
    ADD COLUMN sent_again_by text NOT NULL DEFAULT '';   -- the provider that has the second copy, or may have it

ALTER TABLE relaypost.messages
    ADD COLUMN look_ups smallint NOT NULL DEFAULT 0,     -- how often a provider was asked about an unconfirmed message
    ADD COLUMN look_up_time timestamptz;                 -- when last, or NULL

ALTER TABLE relaypost.otps
    ADD COLUMN confirm_within double precision;          -- seconds, or NULL
