"""The report of one profile: a single HTML file that needs no network.

Owns: the page, its pictures (drawn here as SVG, but for the timeline, which ``timeline.js`` draws) and the tables beside them.
Does not own: any figure on it. Rules: every text goes through ``markup``, which escapes it.
"""
