"""PUBLIC: what tests of this package, and of your own agents, are made of.

A scripted Messages API on loopback, a launcher of the real `claude`, a pytest
plugin that offers both. Nothing in the package imports this folder.
"""
