"""What callers leave with us, and what we do for them later: files, batches, jobs, stored responses, pictures.

It lies in the ledger's database and survives a restart. What an object means, its owner's room knows; this one keeps it.
"""
