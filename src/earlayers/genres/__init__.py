"""Act 3: layers become genres."""
