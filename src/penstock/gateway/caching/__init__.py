"""The cache in a request's life: look up, join, replay, record, keep, audit."""
