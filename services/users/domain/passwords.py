"""Which passwords are taken: length and a blocklist, and no rules of composition.

NIST SP 800-63B-4, 3.1.1.2. Fifteen characters are the least that it allows where nothing else is
asked for.
"""

from __future__ import annotations

import unicodedata
from itertools import pairwise

from mesh.errors import InvalidArgument, Violation

LONGEST = 128

# What is tried first by those who guess; shorter ones are refused by their length.
_COMMON = """
12345678 123456789 1234567890 12345678910 87654321 987654321 0123456789 123123123 123456123
11223344 112233445566 147258369 123654789 password password1 password12 password123 passw0rd
p@ssw0rd p@ssword qwertyui qwertyuiop qwerty123 qwerty1234 1q2w3e4r 1q2w3e4r5t 1qaz2wsx
zaq12wsx asdfghjk asdfghjkl zxcvbnm1 abcd1234 abc12345 abcdefgh a1b2c3d4 iloveyou ilovethis
sunshine princess football baseball superman starwars welcome1 welcome123 letmein1 trustno1
whatever computer internet michelle changeme changeme123 administrator admin123 admin1234
senha123 senha1234 senha12345 minhasenha mudar123 mudar1234 brasil123 brasil2014 flamengo
corinthians palmeiras saopaulo santos123 cruzeiro gremio123 internacional fluminense
vascodagama jesuscristo jesus123 deusefiel deusnocomando teamo123 amoreterno familia123
felicidade esperanca gabriel123 eduardo123 brasileiro empresa123 financeiro bancobanco
"""
COMMON_PASSWORDS = frozenset(_COMMON.split())

# Words that name this bank; a password is more than one of them.
CONTEXT = ("banco", "bank", "linker")


def check(text: str, name: str, email: str, shortest: int = 8) -> str:
    """Checks a new password, sent as the field `name`, and gives it in its normal form.

    Raises `InvalidArgument`, reason `WEAK_PASSWORD`, with the rule that it breaks.
    """
    chosen = normal(text)
    folded = chosen.casefold()
    address = normal(email.strip()).casefold()
    if not shortest <= len(chosen) <= LONGEST:
        raise _weak(name, f"must have {shortest} to {LONGEST} characters")
    if folded in COMMON_PASSWORDS or len(set(folded)) < 4 or is_a_row(folded):
        raise _weak(name, "must not be one that many people use")
    if folded in (address, address.partition("@")[0]):
        raise _weak(name, "must not be the e-mail address")
    if folded.strip("0123456789!@#$%&*._-") in CONTEXT:
        raise _weak(name, "must not be the name of the bank")
    return chosen


def is_a_row(text: str) -> bool:
    """Says whether each character follows the one before, as in `23456789` and `zyxwvuts`."""
    steps = {ord(after) - ord(before) for before, after in pairwise(text)}
    return steps in ({1}, {-1})


def normal(text: str) -> str:
    """Gives one form to what keyboards write in several (NFKC)."""
    return unicodedata.normalize("NFKC", text)


def _weak(name: str, rule: str) -> InvalidArgument:
    return InvalidArgument("WEAK_PASSWORD", f"The password {rule}.", Violation(name, rule))
