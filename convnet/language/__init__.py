"""Texts of layer files to typed values, each with its file, line and column; and what is said of mistakes in them."""
