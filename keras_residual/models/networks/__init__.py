"""Residual networks and their plain twins."""
