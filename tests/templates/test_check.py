"""Directories: their layout, what overlays what, and how mistakes are told."""

import re
from pathlib import Path

import pytest

from relaypost_server.assembly.preload import preload
from relaypost_server.settings import SettingsError
from relaypost_server.templates.check import gateway_templates, open_templates
from relaypost_server.templates.declaration import read_declaration
from relaypost_server.templates.files import LARGEST_FILE, MOST_FILES
from tests.templates.directory import TOML, greeting, opened, problems, write

OTP = {"code": "483920", "minutes": "10", "app": "Acme"}
SHOP = """about = "x"\n[variables.name]\nsample = "Ada"\n"""


def test_a_directory_overlays_the_built_in_templates_file_by_file(tmp_path: Path) -> None:
    files = {
        "otp/en/sms.txt": "Acme: {{ code }}",
        "otp/sv/sms.txt": "{{ code }} är din kod för {{ app }}.",
        "hello/template.toml": TOML,
        "hello/en/sms.txt": "Hi {{ name }}",
        "README.md": "Ours.",
        ".git/config": "{{",
    }
    templates = open_templates(write(tmp_path, files), "en")
    assert set(templates.by_name) == {"otp", "hello"}
    assert templates.sms("otp", OTP).text == "Acme: 483920"
    assert templates.sms("otp", OTP, "sv-SE, de").locale == "sv"
    assert templates.sms("otp", OTP, "de").text == "483920 ist Ihr Code für Acme. Nicht weitergeben."
    email = templates.email("otp", OTP, "sv, de")
    assert (email.locale, email.subject) == ("de", "Ihr Code für Acme")


def test_a_new_layout_serves_every_language(tmp_path: Path) -> None:
    layout = "<b>{% block lead %}{% endblock %}</b>"
    templates = open_templates(write(tmp_path, {"otp/_email.html": layout}), "en")
    assert templates.email("otp", OTP, "de").html == "<b>Geben Sie diesen Code ein, um bei Acme fortzufahren:</b>"


def test_the_default_language_is_a_setting_and_a_template_may_have_its_own(tmp_path: Path) -> None:
    toml = 'default_locale = "SV"\n' + SHOP
    root = write(tmp_path, {"shop/template.toml": toml, "shop/sv/sms.txt": "Hej {{ name }}"})
    templates = open_templates(root, "de")
    assert templates.sms("otp", OTP, "fi").locale == "de"
    assert templates.sms("shop", {"name": "Ada"}, "fi").locale == "sv"


def test_shared_files_are_looked_for_in_the_template_and_then_in_the_directory(tmp_path: Path) -> None:
    files = {
        "_foot.txt": "the whole directory",
        "_head.txt": "never seen",
        "hello/_head.txt": "the template: {{ name }}",
        "hello/en/sms.txt": "{% include '_head.txt' %}, {% include '_foot.txt' %}",
        "hello/template.toml": TOML,
    }
    templates = opened(write(tmp_path, files))
    assert templates.sms("hello", {"name": "Ada"}).text == "the template: Ada, the whole directory"


def test_every_mistake_of_every_file_is_reported_at_once(tmp_path: Path) -> None:
    files = {
        "hello/template.toml": TOML,
        "hello/en/subject.txt": "Hello\n{{ nmae }}",
        "hello/en/email.txt": "one\ntwo\n{% if name %}\nfour",
        "hello/en/email.html": '{% extends "_layot.html" %}',
        "hello/en/sms.txt": "one\n{{ name | uper }}\n",
        "hello/de/sms.txt": "{{ note | number }}",
        "hello/fr/sms.txt": "{{ name }\n",
    }
    assert problems(write(tmp_path, files)) == {
        "hello/en/subject.txt:2": "uses nmae, which hello/template.toml does not declare",
        "hello/en/email.txt:4": "Unexpected end of template. Jinja was looking for the following tags: 'elif' or "
        "'else' or 'endif'. The innermost block that needs to be closed is 'if'.",
        "hello/en/email.html:1": "uses _layot.html, which there is not",
        "hello/en/sms.txt:2": "No filter named 'uper'.",
        "hello/de/sms.txt:1": "the value of a filter is not a number such as 12.50",
        "hello/fr/sms.txt:1": "unexpected '}'",
    }


def test_a_mistake_in_a_shared_file_is_reported_once_and_where_it_is(tmp_path: Path) -> None:
    files = {"hello/_a.txt": "one\n{{ who }}", "hello/de/sms.txt": "{% include '_a.txt' %}"}
    root = write(greeting(tmp_path, sms="{% include '_a.txt' %}"), files)
    assert list(problems(root)) == ["hello/_a.txt:2"]
    write(root, {"hello/_a.txt": "one\n{{ name | number }}"})
    assert list(problems(root)) == ["hello/_a.txt:2"]


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("hello/en/email.htm", "is none of subject.txt, email.txt, email.html, sms.txt"),
        ("hello/EN/sms.txt", "is in a folder that must be named en"),
        ("hello/pt_BR/sms.txt", "is in a folder that must be named pt-BR"),
        ("hello/english/sms.txt", "is in a folder whose name is not a language tag such as pt-BR"),
        ("hello/qx/sms.txt", "is in a folder whose name is not a language that CLDR knows"),
        ("hello/en/deep/sms.txt", "is a directory, 3 levels deep"),
        ("Hello/en/sms.txt", "is not in a folder whose name has 1 to 63 of a-z, 0-9, - and _"),
        ("sms.txt", "is not in a folder whose name has 1 to 63 of a-z, 0-9, - and _"),
        ("hello/notes.txt", "is neither template.toml nor a shared file such as _layout.html nor in a language"),
    ],
)
def test_a_file_in_the_wrong_place_is_reported(tmp_path: Path, path: str, what: str) -> None:
    root = write(greeting(tmp_path, sms="Hi {{ name }}"), {path: "x"})
    place = "hello/en/deep" if "deep" in path else path
    assert problems(root) == {place: what}


@pytest.mark.parametrize(
    ("files", "place", "what"),
    [
        ({"shop/en/sms.txt": "x"}, "shop/template.toml", "is missing"),
        ({"shop/template.toml": SHOP}, "shop", "has no language"),
        ({"shop/template.toml": SHOP, "shop/de/sms.txt": "x"}, "shop", "has no sms in its default language en"),
        (
            {"shop/template.toml": SHOP, "shop/en/subject.txt": "x"},
            "shop/en/email.txt",
            "is missing: an email needs it",
        ),
        (
            {"shop/template.toml": SHOP, "shop/en/email.html": "x"},
            "shop/en/subject.txt",
            "is missing: an email needs it",
        ),
        ({"shop/template.toml": SHOP, "shop/en/sms.txt": " \n"}, "shop/en/sms.txt", "is empty"),
    ],
)
def test_what_is_missing_is_reported(tmp_path: Path, files: dict[str, str], place: str, what: str) -> None:
    assert problems(write(tmp_path, files)) == {place: what}


@pytest.mark.parametrize(
    ("toml", "what"),
    [
        ("about = ", "is not TOML"),
        ("[variables.name]\nsample = 'Ada'", "about: field required"),
        ("about = 'x'\n[variables.name]", "variables.name.sample: field required"),
        ("about = 'x'\n[variables.name]\nsample = 'Ada'\nlonest = 5", "variables.name.lonest: extra inputs"),
        ("about = 'x'\n[variables.name]\nsample = 'Ada'\nlongest = 2", "variables.name: the sample has 3 characters"),
        ("about = 'x'\n[variables.name]\nsample = 'Ada'\nkind = 'number'", "variables.name: the sample is not a num"),
        ("about = 'x'\n[variables.name]\nsample = 'Ada'\npattern = '['", "variables.name.pattern: input should be a"),
        ("about = 'x'\n[variables.Name]\nsample = 'Ada'", '"Name" must begin with a letter'),
        ("about = 'x'\n[variables._name]\nsample = 'Ada'", '"_name" must begin with a letter'),
        ("about = 'x'\n[variables.locale]\nsample = 'Ada'", '"locale" has a meaning of its own'),
        ("about = 'x'\n[variables.loop]\nsample = 'Ada'", '"loop" has a meaning of its own'),
        ("about = 'x'\ndefault_locale = 'qx'", "default_locale: is not a language that CLDR knows"),
    ],
)
def test_a_declaration_is_checked(tmp_path: Path, toml: str, what: str) -> None:
    found = problems(write(tmp_path, {"shop/template.toml": toml, "shop/en/sms.txt": "x"}))
    assert list(found) == ["shop/template.toml"]
    assert what in found["shop/template.toml"]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"\xff\xfe", "is not UTF-8"),
        (b"\xef\xbb\xbfHi", "begins with a byte order mark"),
        (b"Hi\n\x00", "holds a control character in line 2"),
        (b"x" * (LARGEST_FILE + 1), "is larger than the 262144 bytes that are allowed"),
    ],
)
def test_a_file_that_is_no_text_is_reported(tmp_path: Path, content: bytes, what: str) -> None:
    root = greeting(tmp_path, sms="Hi {{ name }}")
    (root / "hello/_note.txt").write_bytes(content)
    assert problems(root) == {"hello/_note.txt": what}


def test_too_many_files_are_refused_unread(tmp_path: Path) -> None:
    for number in range(MOST_FILES + 1):
        (tmp_path / f"_{number}.txt").touch()
    assert list(problems(tmp_path).values()) == ["holds more than 5000 files"]


def test_a_symlink_out_of_the_directory_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("canary")
    root = greeting(tmp_path / "templates", sms="Hi {{ name }}")
    (root / "hello/_secret.txt").symlink_to(secret)
    (root / "hello/de").symlink_to(tmp_path)
    (root / "hello/_gone.txt").symlink_to(root / "nothing")
    assert problems(root) == {
        "hello/_secret.txt": "is a symlink to somewhere outside of the directory",
        "hello/de": "is a symlink to somewhere outside of the directory",
        "hello/_gone.txt": "is not a file",
    }


def test_a_symlink_inside_of_the_directory_is_followed(tmp_path: Path) -> None:
    """Kubernetes mounts a ConfigMap like this."""
    root = greeting(tmp_path / "..2026_11_24", sms="Hi {{ name }}").parent
    (root / "..data").symlink_to("..2026_11_24")
    (root / "hello").symlink_to("..data/hello")
    assert opened(root).sms("hello", {"name": "Ada"}).text == "Hi Ada"


def test_a_symlink_to_its_own_parent_ends(tmp_path: Path) -> None:
    root = greeting(tmp_path, sms="Hi {{ name }}")
    (root / "hello/sv").symlink_to(root)
    assert list(problems(root)) == ["hello/sv/hello"]


def test_a_directory_that_is_not_there_is_a_mistake_in_the_settings(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="RELAYPOST_TEMPLATES_DIR: names no directory"):
        open_templates(tmp_path / "nothing", "en")


def test_a_default_language_that_a_template_lacks_is_told_with_its_cure() -> None:
    with pytest.raises(
        SettingsError, match=r"otp: has no email in its default language fi\n.*RELAYPOST_DEFAULT_LOCALE"
    ):
        open_templates(None, "fi")


def test_the_example_in_the_documentation_is_valid() -> None:
    text = (Path(__file__).parents[2] / "docs/templates.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert set(read_declaration(example).variables) == {"name", "trial_ends", "note"}


async def test_the_built_in_templates_are_compiled_once_the_gateway_serves() -> None:
    templates = gateway_templates(None, "en")
    assert not templates.sandbox.cache
    await preload(templates.warm_up).round()
    compiled = {path for _, path in templates.sandbox.cache or {}}
    assert compiled == {path for path in templates.sandbox.files if not path.endswith(".toml")}


def test_a_gateway_finds_mistakes_of_its_own_directory_before_it_serves(tmp_path: Path) -> None:
    with pytest.raises(SettingsError):
        gateway_templates(write(tmp_path, {"otp/en/sms.txt": "{{ unknown }}"}), "en")


def test_a_gateway_refuses_a_default_language_that_no_template_has() -> None:
    with pytest.raises(SettingsError):
        gateway_templates(None, "fi")
