"""TemplateService."""

from collections.abc import Mapping

from relaypost.v1 import message_pb2, template_service_pb2 as pb, template_service_pb2_grpc

from relaypost_server.api.edge import Context
from relaypost_server.api.rendering import read_variables
from relaypost_server.api.violations import Violations
from relaypost_server.core.message import Channel
from relaypost_server.core.rendering import RenderError
from relaypost_server.core.segments import count_segments
from relaypost_server.templates.catalog import Template
from relaypost_server.templates.declaration import Kind, Variable
from relaypost_server.templates.locales import complaint_about
from relaypost_server.templates.render import Templates

_KINDS = {kind: pb.VariableKind.Value(f"VARIABLE_KIND_{kind.name}") for kind in Kind}


class TemplateServicer(template_service_pb2_grpc.TemplateServiceServicer):
    """Shows what there is."""

    def __init__(self, templates: Templates) -> None:
        self._templates = templates

    async def ListTemplates(self, request: pb.ListTemplatesRequest, context: Context) -> pb.ListTemplatesResponse:
        return pb.ListTemplatesResponse(templates=[_template(t) for t in self._templates.by_name.values()])

    async def PreviewTemplate(self, request: pb.PreviewTemplateRequest, context: Context) -> pb.PreviewTemplateResponse:
        bad = Violations()
        if not request.template:
            bad.add("template", "is required")
        if request.channel not in (message_pb2.CHANNEL_EMAIL, message_pb2.CHANNEL_SMS):
            bad.add("channel", "is not a known channel" if request.channel else "is required")
        bad.check()
        if complaint := complaint_about(request.locale):
            bad.add("locale", complaint)
        try:
            shown = self._preview(request, read_variables("variables", request.variables, bad))
        except RenderError as error:
            for name, what in error.violations:
                bad.add(name, what)
        bad.check()
        return shown

    def _preview(self, request: pb.PreviewTemplateRequest, variables: Mapping[str, str]) -> pb.PreviewTemplateResponse:
        template = self._templates.by_name.get(request.template)
        samples = template.declaration.required_samples if template else {}
        values = {**samples, **variables}
        if request.channel == message_pb2.CHANNEL_EMAIL:
            email = self._templates.email(request.template, values, request.locale)
            return pb.PreviewTemplateResponse(
                locale=email.locale, subject=email.subject, text=email.text, html=email.html
            )
        sms = self._templates.sms(request.template, values, request.locale)
        return pb.PreviewTemplateResponse(locale=sms.locale, text=sms.text, segments=count_segments(sms.text).count)


def _template(template: Template) -> pb.Template:
    declaration = template.declaration
    return pb.Template(
        name=template.name,
        about=declaration.about,
        default_locale=template.default_locale,
        variables=[_variable(name, variable) for name, variable in declaration.variables.items()],
        email_locales=sorted(template.locales.get(Channel.EMAIL, ())),
        sms_locales=sorted(template.locales.get(Channel.SMS, ())),
        secret=declaration.secret,
    )


def _variable(name: str, variable: Variable) -> pb.TemplateVariable:
    return pb.TemplateVariable(
        name=name,
        about=variable.about,
        sample=variable.sample,
        kind=_KINDS[variable.kind],
        optional=variable.optional,
        longest=variable.longest,
    )
