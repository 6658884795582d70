"""What colours mean, by the names of the theme's variables."""

from __future__ import annotations

TRAIN_COLOUR = "primary-lighten-2"
HELD_OUT_COLOUR = "warning"
