"""Which language a reader gets."""

import pytest
from hypothesis import given, strategies as st

from relaypost_server.templates.locales import LocaleError, canonical, choose, known_tag

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
    "preference", ["d", "en;q=2", "en;q=x", "../../etc", "en us", "de;q=0.1;q=1", "C.UTF-8", "en," * 100, "é"]
)
def test_what_is_no_preference_is_refused_and_not_repeated(preference: str) -> None:
    with pytest.raises(LocaleError) as caught:
        choose(preference, AVAILABLE, "en")
    assert preference not in str(caught.value)


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


@given(st.one_of(_lists, st.text(max_size=40)))
def test_any_preference_gives_a_language_at_hand_or_an_explanation(preference: str) -> None:
    try:
        choice = choose(preference, AVAILABLE, "en")
    except LocaleError:
        return
    assert choice.tag in AVAILABLE
