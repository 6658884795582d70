"""Foretell what a round needs, and remark on settings that the literature would not choose."""
