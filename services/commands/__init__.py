"""The commands that know what a bank is."""
