"""Act 2: numbers become learned layers (networks, methods, optimisers, batches)."""
