"""What a network is made of: weights in and out, folded, faster, described."""
