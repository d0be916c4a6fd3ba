"""Every inlet with every chat upstream: what becomes of each feature, long conversations, damaged streams."""
