-- One-time passwords. No code is kept: `mark` is an HMAC, and `seal` opens with the pepper alone.

CREATE TABLE relaypost.otps (
    id uuid PRIMARY KEY,
    caller text NOT NULL,
    request_id text,                       -- NULL where the request had none
    fingerprint text NOT NULL,             -- of what was asked for
    channel text NOT NULL,
    destination text NOT NULL,
    country text NOT NULL,                 -- of the phone, or empty
    prefix text NOT NULL,                  -- the phone's first digits, or empty
    purpose text NOT NULL,
    template text NOT NULL,
    locale text NOT NULL,
    variables jsonb NOT NULL,              -- emptied when the life is over
    guarantee text NOT NULL,
    ttl double precision NOT NULL,         -- seconds
    pepper text NOT NULL,                  -- the id of the pepper
    mark bytea NOT NULL,                   -- emptied when the life is over
    seal bigint NOT NULL,                  -- the same
    length smallint NOT NULL,
    generation smallint NOT NULL DEFAULT 1, -- grows with each new code
    attempts smallint NOT NULL DEFAULT 0,  -- taken from the present code
    sends smallint NOT NULL DEFAULT 1,
    create_time timestamptz NOT NULL DEFAULT now(),
    last_send_time timestamptz NOT NULL DEFAULT now(),
    expire_time timestamptz NOT NULL,
    used_time timestamptz,
    UNIQUE (caller, request_id)
);

CREATE INDEX otps_by_prefix ON relaypost.otps (prefix, create_time) WHERE prefix <> '';
CREATE INDEX otps_by_age ON relaypost.otps (create_time);
CREATE INDEX otps_to_empty ON relaypost.otps (expire_time) WHERE mark <> '';

-- When something that is limited happened last: one row for each limit and key, at most `most` times in it.
CREATE TABLE relaypost.otp_limits (
    name text NOT NULL,
    key text NOT NULL,
    most integer NOT NULL,
    seconds double precision NOT NULL,
    times timestamptz[] NOT NULL,          -- in order
    PRIMARY KEY (name, key)
);

-- The times that a limit still counts, in order.
CREATE FUNCTION relaypost.recent(times timestamptz[], seconds double precision) RETURNS timestamptz[]
LANGUAGE sql STABLE AS $$
    SELECT coalesce(array_agg(t ORDER BY t), '{}') FROM unnest(times) AS t
    WHERE t > now() - make_interval(secs => seconds)
$$;
