import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.messaging.keywords import Keyword, keyword


@pytest.mark.parametrize(
    ("body", "meaning"),
    [
        ("STOP", Keyword.STOP),
        ("stop", Keyword.STOP),
        (" Stop! \n", Keyword.STOP),
        ('"STOP".', Keyword.STOP),
        ("Stopall", Keyword.STOP),
        ("unsubscribe", Keyword.STOP),
        ("END", Keyword.STOP),
        ("quit", Keyword.STOP),
        ("Cancel", Keyword.STOP),
        ("REVOKE", Keyword.STOP),
        ("opt-out", Keyword.STOP),
        ("OPTOUT", Keyword.STOP),
        ("ARRET", Keyword.STOP),
        ("Arrêt", Keyword.STOP),
        ("ARRE\u0302T", Keyword.STOP),
        ("arrete", Keyword.STOP),
        ("START", Keyword.START),
        ("yes", Keyword.START),
        ("Unstop.", Keyword.START),
        ("help?", Keyword.HELP),
        ("INFO", Keyword.HELP),
        ("Aide", Keyword.HELP),
    ],
)
def test_a_keyword_counts_whatever_its_case_and_punctuation(body: str, meaning: Keyword) -> None:
    assert keyword(body) is meaning


@pytest.mark.parametrize(
    "body",
    ["please stop", "STOP it", "nonstop", "stop stop", "s t o p", "", "!!!", "Yes please", "start over", "STOP" * 100],
)
def test_a_keyword_inside_other_words_is_none(body: str) -> None:
    assert keyword(body) is None


def test_what_twilio_says_of_a_custom_keyword_goes_first() -> None:
    assert keyword("BAJA", "STOP") is Keyword.STOP
    assert keyword("ALTA", "START") is Keyword.START
    assert keyword("stop", "") is Keyword.STOP
    assert keyword("hello", "nonsense") is None


@given(st.text(max_size=2_000))
def test_any_body_is_judged_without_an_error(body: str) -> None:
    assert keyword(body) in {None, *Keyword}


@given(st.sampled_from(["STOP", "END", "YES"]), st.text(alphabet=" .,!?'\"\n\t-", max_size=20))
def test_punctuation_around_a_keyword_changes_nothing(word: str, around: str) -> None:
    assert keyword(around + word.lower() + around) is keyword(word)
