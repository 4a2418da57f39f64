"""JOINS THEM: tails the sources of its sessions, feeds, emits, delivers.

One process per distinct configuration.
"""
