"""HOW IT WAS SAID: one dialect a file, raw text or bytes in, `model` events out.

Pure. Raw dictionaries stop here; what is not understood becomes a counted
`Unrecognized`, never an exception.
"""
