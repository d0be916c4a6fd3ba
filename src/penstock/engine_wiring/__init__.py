"""The engine built for a command: what is asked, which parts do it, and what of the gateway's ledger belongs to it.

Owns: telling targets apart, putting parts together, the join of both wings. Does not own: decisions, figures, words.
"""
