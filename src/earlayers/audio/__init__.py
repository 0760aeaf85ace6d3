"""Act 1: sound becomes numbers."""
