"""Bytes by content key, with a time to live: one store for cached answers, text embeddings and any other tensor.

A ground-floor room that both wings share; it knows nothing of what the bytes mean.
"""
