"""A page on this machine to try a model on a song: hear it, see what the network makes of it."""
