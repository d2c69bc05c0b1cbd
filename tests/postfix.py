"""A private Postfix: its own configuration, queue and mailboxes in one folder."""

import contextlib
import os
import pwd
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_string, policy
from email.message import EmailMessage
from pathlib import Path

import pytest

from tests.peers import free_port, open_up, program

MAIN = """
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = {daemons}
mail_owner = postfix
setgid_group = postdrop
maillog_file = {folder}/mail.log
maillog_file_prefixes = {folder}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = localhost
mydestination =
alias_maps =
virtual_mailbox_domains = example.com
virtual_mailbox_base = {folder}/mail
virtual_mailbox_maps = inline:{{
    ada@example.com=ada/ grace@example.com=grace/ alan@example.com=alan/ josé@example.com=jose/
    p0@example.com=p0/ p1@example.com=p1/ p2@example.com=p2/ p3@example.com=p3/ p4@example.com=p4/
    p5@example.com=p5/ p6@example.com=p6/ p7@example.com=p7/ p8@example.com=p8/ p9@example.com=p9/
    }}
virtual_minimum_uid = 1
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
smtpd_peername_lookup = no
smtpd_recipient_restrictions =
    check_recipient_access inline:{{
        {{ full@example.com = 452 4.2.2 mailbox full }}
        {{ busy@example.com = 450 4.2.0 greylisted }}
    }},
    reject_unauth_destination
smtpd_tls_security_level = may
smtpd_tls_chain_files = {key}, {certificate}
message_size_limit = 200000
smtpd_recipient_limit = 4
smtputf8_enable = yes
"""

MASTER = """
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
"""


@dataclass(frozen=True)
class Postfix:
    """A running instance with mailboxes for ada, grace, alan, josé, and p0 to p9, at example.com.

    It takes four recipients at once.
    """

    port: int
    folder: Path

    def mailbox(self, name: str) -> list[EmailMessage]:
        """What has been delivered to a mailbox."""
        files = sorted((self.folder / "mail" / name / "new").glob("*"))
        return [message_from_string(f.read_bytes().decode(), policy=policy.SMTPUTF8) for f in files]


@contextlib.contextmanager
def postfix(folder: Path, certificate: Path, key: Path) -> Iterator[Postfix]:
    tool = program("postfix")
    if os.geteuid() != 0:
        pytest.skip("Postfix starts as root only")
    owner = pwd.getpwnam("postfix")
    for name in ("etc", "queue", "data", "mail"):
        (folder / name).mkdir()
    for name in ("data", "mail"):
        os.chown(folder / name, owner.pw_uid, owner.pw_gid)
    open_up(folder)
    port = free_port()
    values = {
        "folder": folder,
        "daemons": "/usr/lib/postfix/sbin",
        "uid": owner.pw_uid,
        "gid": owner.pw_gid,
        "certificate": certificate,
        "key": key,
    }
    (folder / "etc" / "main.cf").write_text(MAIN.format(**values))
    (folder / "etc" / "master.cf").write_text(MASTER.format(port=port))
    control = [tool, "-c", str(folder / "etc")]
    started = subprocess.run([*control, "start"], capture_output=True, text=True, check=False)
    if started.returncode != 0:
        raise RuntimeError(started.stderr)
    try:
        yield Postfix(port, folder)
    finally:
        subprocess.run([*control, "stop"], capture_output=True, check=False)
