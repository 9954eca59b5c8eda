"""How fast a network trains and answers here, by every way to run it."""
