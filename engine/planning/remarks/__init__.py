"""Remarks on the settings of a round that the literature would not choose."""
