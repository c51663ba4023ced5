"""The words by which people leave, come back and ask for help.

Twilio's defaults for long codes (STOP and so on; REVOKE and OPTOUT since the FCC's rule of 2025), and the French words
that Canadian carriers require (ARRET, AIDE; Twilio lists ARRETE and ARRETT too). Sources: Twilio "support for opt-out
keywords", "Advanced Opt-Out", "Proxy opt-out keywords", "Canadian short code keyword responses". Twilio's defaults hold
no other language: a messaging service with Advanced Opt-Out says `OptOutType` in its callback, which goes first.
"""

import unicodedata
from enum import StrEnum


class Keyword(StrEnum):
    """What an inbound message asks for."""

    STOP = "stop"
    START = "start"
    HELP = "help"


_WORDS = {
    "STOP": Keyword.STOP,
    "STOPALL": Keyword.STOP,
    "UNSUBSCRIBE": Keyword.STOP,
    "END": Keyword.STOP,
    "QUIT": Keyword.STOP,
    "CANCEL": Keyword.STOP,
    "REVOKE": Keyword.STOP,
    "OPTOUT": Keyword.STOP,
    "ARRET": Keyword.STOP,
    "ARRETE": Keyword.STOP,
    "ARRETT": Keyword.STOP,
    "START": Keyword.START,
    "YES": Keyword.START,
    "UNSTOP": Keyword.START,
    "HELP": Keyword.HELP,
    "INFO": Keyword.HELP,
    "AIDE": Keyword.HELP,
}

_LONGEST_BODY = 64
"""Past this many characters a body is no single word, whatever its punctuation."""


def keyword(body: str, opt_out_type: str | None = None) -> Keyword | None:
    """The keyword that is the whole message: "Stop." is one, "please stop" is not.

    `opt_out_type` is Twilio's `OptOutType` (STOP, START, HELP), which knows the words a messaging service was given.
    """
    if opt_out_type and (found := _WORDS.get(opt_out_type.strip().upper())):
        return found
    if len(body) > _LONGEST_BODY:
        return None
    return _WORDS.get(_bare_word(body))


def _bare_word(body: str) -> str:
    # Decomposed, so that ARRÊT is ARRET; letters alone at the ends, so that "'STOP'!" is STOP and "opt-out" OPTOUT.
    letters = [char for char in unicodedata.normalize("NFKD", body.strip()) if not unicodedata.combining(char)]
    kept = "".join(char for char in letters if not unicodedata.category(char).startswith(("P", "S", "C")))
    return kept.strip().upper()
