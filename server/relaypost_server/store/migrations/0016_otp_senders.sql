-- Who the messages of a code come from, where its caller says so: the same for every send of it.

ALTER TABLE relaypost.otps
    ADD COLUMN sender_email text NOT NULL DEFAULT '',
    ADD COLUMN sender_name text NOT NULL DEFAULT '',
    ADD COLUMN sender_id text NOT NULL DEFAULT '';
