"""WHERE DATA COMES IN: the hook, the spool it appends to, and what registers it.

`hook.py` imports the standard library only and never anything of this package.
"""
