"""A guard in every test's database: it raises where a message takes a state that the table does not allow.

Made from `core.messages.transitions`, so that the two cannot differ. The
migrations create the table that it watches, so an event trigger installs it.
"""

from collections.abc import Iterable

from relaypost_server.core.message import MessageState
from relaypost_server.core.messages.transitions import INITIAL, LEGAL


def guard() -> str:
    """The statements that prepare a database whose schema is made later."""
    pairs = _list(f"('{source}', '{target}')" for source, target in LEGAL)
    first = _list(f"'{state}'" for state in INITIAL)
    return f"""
        CREATE SCHEMA relaypost_guard;
        GRANT USAGE ON SCHEMA relaypost_guard TO PUBLIC;
        CREATE FUNCTION relaypost_guard.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'message % must not become %, it was %', NEW.id, NEW.state,
                CASE WHEN TG_OP = 'UPDATE' THEN OLD.state ELSE 'not on record' END;
        END $$;
        CREATE FUNCTION relaypost_guard.install() RETURNS event_trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF to_regclass('relaypost.messages') IS NULL OR EXISTS (
                SELECT FROM pg_trigger WHERE tgname = 'guard_changes' AND tgrelid = to_regclass('relaypost.messages')
            ) THEN
                RETURN;
            END IF;
            CREATE TRIGGER guard_changes AFTER UPDATE ON relaypost.messages FOR EACH ROW
                WHEN (OLD.state <> NEW.state AND (OLD.state, NEW.state) NOT IN ({pairs}))
                EXECUTE FUNCTION relaypost_guard.refuse();
            CREATE TRIGGER guard_additions AFTER INSERT ON relaypost.messages FOR EACH ROW
                WHEN (NEW.state NOT IN ({first}))
                EXECUTE FUNCTION relaypost_guard.refuse();
        END $$;
        CREATE EVENT TRIGGER guard_messages ON ddl_command_end WHEN TAG IN ('CREATE TABLE')
            EXECUTE FUNCTION relaypost_guard.install();
    """


def pairs_of_states() -> list[tuple[MessageState, MessageState]]:
    """Every pair of two different states."""
    return [(source, target) for source in MessageState for target in MessageState if source is not target]


def _list(parts: Iterable[str]) -> str:
    return ", ".join(sorted(parts))
