"""People: the user, what they are told, how they log in."""
