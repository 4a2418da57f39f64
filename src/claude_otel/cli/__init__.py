"""A command parses, calls one function, prints. Nothing is computed here.
"""
