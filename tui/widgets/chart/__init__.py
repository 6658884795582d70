"""The loss chart: axes, canvas, plot."""
