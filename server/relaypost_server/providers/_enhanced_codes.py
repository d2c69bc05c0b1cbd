"""Enhanced status codes that mean the same wherever they are read: in SMTP's replies and in reports of bounces.

RFC 3463, RFC 7505 and IANA's registry of enhanced status codes.
"""

from typing import Final

UNKNOWN_RECIPIENT: Final = ("5.1.1", "5.1.10")
"""No such mailbox; a domain that takes no mail. These say so of the address alone, whatever words stand beside them."""
NO_SUCH_MAILBOX: Final = (*UNKNOWN_RECIPIENT, "5.1.2", "5.1.3", "5.1.6", "5.2.1")
"""All codes that prove it of a recipient: also a wrong domain or syntax, a mailbox that moved, and one disabled."""
