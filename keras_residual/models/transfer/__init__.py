"""Transfer learning: a pretrained network with a head of its own."""
