"""Writes the tables of docs/providers.md that show what each provider makes of each field."""

import sys
from collections.abc import Mapping
from pathlib import Path

from relaypost_server.core.message import Channel
from relaypost_server.providers._fields import Fields
from relaypost_server.providers.sendgrid_fields import FIELDS as SENDGRID
from relaypost_server.providers.ses_fields import FIELDS as SES
from relaypost_server.providers.smtp_fields import FIELDS as SMTP
from relaypost_server.providers.sns_fields import FIELDS as SNS
from relaypost_server.providers.twilio_fields import FIELDS as TWILIO

TABLES: Mapping[Channel, Mapping[str, Fields]] = {
    Channel.EMAIL: {"ses": SES, "sendgrid": SENDGRID, "smtp": SMTP},
    Channel.SMS: {"sns": SNS, "twilio": TWILIO},
}
"""The console is left out: it prints, and delivers nothing."""


def table(channel: Channel) -> str:
    """The table of one channel in Markdown, a line for each field."""
    providers = TABLES[channel]
    names = list(dict.fromkeys(name for fields in providers.values() for name in fields))
    rows = [[f"`{name}`", *(str(fields[name]) for fields in providers.values())] for name in names]
    head = ["field", *providers]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def with_tables(page: str) -> str:
    """The page with its tables written anew, each between the marks of its channel."""
    for channel in TABLES:
        begin, end = (f"<!-- {which} of the fields of {channel.value} -->\n" for which in ("table", "end"))
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(end)
        page = f"{before}{begin}\n{table(channel)}\n\n{end}{after}"
    return page


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(with_tables(path.read_text()))
