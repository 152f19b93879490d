"""The embedded profile: one supervisor, and everything the bank needs as its children."""
