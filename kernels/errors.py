"""What can end a search early."""


class Interrupted(Exception):
    """`keep_going` said no between two blocks; there is no answer."""
