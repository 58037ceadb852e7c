"""Weights of networks: loaded, exported and folded; faster layers; descriptions."""
