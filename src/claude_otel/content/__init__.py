"""WHAT MAY LEAVE: redaction and cutting, done once, before the span is built.

Pure text to text. Which destination gets content at all is decided in
`export/` from the marks in `semconv/attributes.py`.
"""
