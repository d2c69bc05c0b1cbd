"""Makes the message that carries a code."""

from collections.abc import Mapping

from relaypost_server.core.message import Address, Email, Sms, Tracking
from relaypost_server.core.otp import OtpRequest, minutes
from relaypost_server.core.ports import Renderer
from relaypost_server.core.rendering import RenderError

OURS = ("code", "minutes")
"""Variables that no caller gives."""


class OtpComposer:
    """Fills the templates of codes in."""

    def __init__(self, templates: Renderer, *, sender: Address | None, app: str) -> None:
        """`sender`: of emails of which the caller names none. `app`: the product's name where the caller gives none."""
        self._templates = templates
        self._sender = sender
        self._app = app

    def email(self, request: OtpRequest, code: str, time_left: float) -> Email:
        """The email. Raises RenderError."""
        sender = request.sender or self._sender
        if sender is None:
            raise RenderError([("sender", "is required, for the gateway has no OTP_FROM_EMAIL")])
        values = self._values(request, code, time_left)
        made = self._templates.email(request.template, values, request.locale)
        to = Address(email=request.destination)
        return Email(
            sender=sender,
            to=(to,),
            subject=made.subject,
            text=made.text,
            html=made.html,
            tracking=Tracking.OFF,
        )

    def sms(self, request: OtpRequest, code: str, time_left: float) -> Sms:
        """The text message, worth nothing after `time_left` seconds. Raises RenderError."""
        values = self._values(request, code, time_left)
        made = self._templates.sms(request.template, values, request.locale)
        return Sms(
            to=request.destination,
            country=request.country,
            text=made.text,
            sender_id=request.sender_id or "",
            validity=time_left,
        )

    def _values(self, request: OtpRequest, code: str, time_left: float) -> Mapping[str, str]:
        given = [name for name in OURS if name in request.variables]
        if given:
            raise RenderError([(f'variables["{name}"]', "is the gateway's to give") for name in given])
        taken = self._templates.variables(request.template)
        if taken and "code" not in taken:
            raise RenderError([("template", "does not take a code")])
        ours = {"code": code, "minutes": minutes(time_left), "app": self._app}
        return {name: value for name, value in ours.items() if name in taken} | dict(request.variables)
