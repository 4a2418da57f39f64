"""WHAT IT IS CALLED: every attribute key, span name, kind and message shape.

The only folder that contains the text of a `gen_ai.*` key. Pure: nodes in,
span shapes out.
"""
