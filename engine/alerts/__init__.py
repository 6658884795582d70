"""Alarms of runs, and the notifications that are sent for them."""
