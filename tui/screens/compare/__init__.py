"""Rounds side by side, and the family tree of a round."""
