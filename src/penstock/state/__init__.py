"""What several processes share: slices of budgets, rate limits, cool-downs of provider keys.

Beside ``gateway``, on the same floor: neither knows the other, ``wiring`` joins them. One process keeps what must
outlive it in a file (``embedded``); workers of one machine ask their supervisor; many nodes ask a Redis.
"""
