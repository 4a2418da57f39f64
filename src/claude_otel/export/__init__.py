"""WHERE DATA GOES OUT: destinations, the ledger, and the loop that delivers.

Knows OpenTelemetry, nothing of Claude: what it needs to say about a span is in
the span's attributes.
"""
