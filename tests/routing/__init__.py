"""Routing decides without sleeping, sending or reading a clock, so its tests hold the clock and the dice."""
