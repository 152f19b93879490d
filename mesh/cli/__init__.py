"""The command. Generic: what it runs is told to it as a `Project`."""
