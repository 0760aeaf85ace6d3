"""Act 2: numbers become learned layers."""
