"""WHAT IT COST: a thin face over a price library.

An unknown model has no cost; it is never zero.
"""
