"""Judging a model, while it trains and when it is done, in either host."""
