"""The stages: thin shells that read, call one of the three acts, write and log."""
