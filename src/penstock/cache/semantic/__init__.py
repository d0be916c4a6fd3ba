"""The semantic tier: what text is compared, with what, and whether it may be served. Needs numpy (penstock[semantic])."""
