"""WHAT HAPPENED: facts (events), the state machine that turns them into nodes, and usage.

No I/O and no clock: time comes in with the events. Nothing here knows how a
fact was written down (`sources/`) or what a span is called (`semconv/`).
"""
