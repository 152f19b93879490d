"""The audit: who has changed what, kept with the change, and sealed so that nobody rewrites it.

Theory of operation. A unit of work that changes something for a user, a member of the staff or an
operator leaves one row in `audit`, in its own transaction: no change without its row, no row
without its change. What staff asks for is a row of its own, kept before the answer. A row carries a
digest of its content. Within a second a background task gives it its number and a seal, over the
number, the seal before it and the digest, so that a row that is changed, removed, moved or put in
between breaks the chain there (Haber and Stornetta, 1991; Schneier and Kelsey, 1999). It is not
sealed at once because on PostgreSQL units commit side by side, and a chain that they extended
themselves would make them wait for each other.

What the chain does not show by itself: what is done to a row before it is sealed, and rows cut off
at its end, or all of it made anew. The latter is found by whoever has kept an older head, which is
why heads are told: in the log, and to `./bank audit verify`, which keeps them.

Triggers refuse to change and to remove rows; the chain is for who goes around them. Calls of one
workload to another on its own behalf leave no row: what they do follows from a call that did.

General layout:

chain    digests and seals, and where a chain is broken
witness  the row of a call
sealer   numbers and seals
api      shows it
"""
