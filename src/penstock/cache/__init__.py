"""The cache: exact key, semantic tier, guards, decision. What decides is pure; ``gateway.caching`` does."""
