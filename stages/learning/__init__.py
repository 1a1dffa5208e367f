"""A network with its optimizer: fit, score, save."""
