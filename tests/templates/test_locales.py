"""Which language a reader gets."""

import pytest
from hypothesis import given, strategies as st

from relaypost_server.templates.locales import LocaleError, canonical, choose, known_tag, read_preference

AVAILABLE = frozenset({"en", "de", "fr", "pt", "pt-BR", "zh", "zh-Hant", "ar"})


@pytest.mark.parametrize(
    ("preference", "tag"),
    [
        ("", "en"),
        ("pt-BR", "pt-BR"),
        ("pt-PT", "pt"),
        ("PT_br", "pt-BR"),
        ("zh-Hant-TW", "zh-Hant"),
        ("zh-TW", "zh-Hant"),
        ("zh-HK", "zh-Hant"),
        ("zh-CN", "zh"),
        ("zh-Hans-CN", "zh"),
        ("de-CH-1996", "de"),
        ("fi", "en"),
        ("fi, de;q=0.5, fr;q=0.9", "fr"),
        ("fr;q=0, de;q=0.1", "de"),
        ("de;q=0.8,fr;q=0.8", "de"),
        ("fr-CA;q=0.9, de ; Q=0.95", "de"),
        ("*", "en"),
        ("fi, *;q=0.5, de;q=0.1", "en"),
        (" , de,, ", "de"),
        ("pt-BR,en;q=0.5", "pt-BR"),
        ("de;q=1.000,fr", "de"),
        ("en-EN;q=0.47,-BE;q=0.43", "en"),
        ("fr;q=.8", "fr"),
        ("de;q=0.7,fr;q=0.8333333", "fr"),
        ("de;q=2,fr;q=1", "de"),
        ("pt_BR.UTF-8", "pt-BR"),
        ("de_DE@euro", "de"),
        ("zh_TW@latin", "zh"),
        ("fr_FR.ISO-8859-1@euro", "fr"),
        ("x-default", "en"),
        ("x-default,de", "de"),
        ("C.UTF-8", "en"),
        ("../../etc,de", "de"),
        ("\u202ade\u202c", "de"),
        ("de," + "x" * 10_000, "de"),
        ("?," * 5_000 + "de", "en"),
    ],
)
def test_a_preference_finds_the_nearest_language(preference: str, tag: str) -> None:
    assert choose(preference, AVAILABLE, "en").tag == tag


def test_a_wish_is_shortened_before_the_next_one_counts() -> None:
    assert choose("pt-BR, en", frozenset({"en", "pt"}), "en").tag == "pt"


def test_dates_follow_the_region_that_was_asked_for() -> None:
    assert str(choose("en-GB", AVAILABLE, "en").formats) == "en_GB"
    assert str(choose("en-QQ", AVAILABLE, "en").formats) == "en"
    assert str(choose("fi-FI", AVAILABLE, "en").formats) == "en"


@pytest.mark.parametrize(
    ("preference", "read", "unread"),
    [
        ("", 0, 0),
        ("en-EN;q=0.47,-BE;q=0.43", 1, 1),
        *((one, 0, 1) for one in ("d", "en;q=x", "../../etc", "en us", "de;q=0.1;q=1", "C.UTF-8", "é", "x-default")),
        ("en_US.UTF-8", 1, 0),
        ("en;q=.8,fr;q=0.8333333,de;q=0", 3, 0),
        ("en," * 100, 85, 1),
    ],
)
def test_what_cannot_be_read_is_counted(preference: str, read: int, unread: int) -> None:
    found = read_preference(preference)
    assert (found.read, found.unread) == (read, unread)


def test_a_script_that_posix_names_counts() -> None:
    assert read_preference("sr_RS@latin").wishes == ("sr-Latn-RS",)


@pytest.mark.parametrize(
    ("given_tag", "tag"), [("EN", "en"), ("pt_br", "pt-BR"), ("ZH-hant-tw", "zh-Hant-TW"), ("es-419", "es-419")]
)
def test_tags_have_one_form(given_tag: str, tag: str) -> None:
    assert canonical(given_tag) == tag


def test_a_language_that_cldr_does_not_know_is_refused() -> None:
    with pytest.raises(LocaleError, match="CLDR"):
        known_tag("qx")


_tags = st.from_regex(r"[A-Za-z]{2,3}([-_][A-Za-z]{4})?([-_]([A-Za-z]{2}|[0-9]{3}))?", fullmatch=True)
_weights = st.sampled_from(["", ";q=0", ";q=0.5", ";q=1"])
_lists = st.lists(st.builds(lambda tag, weight: tag + weight, _tags, _weights), max_size=8).map(",".join)


@given(st.one_of(_lists, st.text(max_size=40), st.text("enfr-_.;=q018,@*? ", max_size=60)))
def test_any_preference_gives_a_language_at_hand(preference: str) -> None:
    assert choose(preference, AVAILABLE, "en").tag in AVAILABLE


@given(_lists, st.text("-_;=q.@!", max_size=10))
def test_what_cannot_be_read_changes_nothing_about_the_rest(readable: str, noise: str) -> None:
    assert choose(f"{noise},{readable}", AVAILABLE, "en") == choose(readable, AVAILABLE, "en")
