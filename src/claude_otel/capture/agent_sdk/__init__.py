"""The Claude Agent SDK, seen from inside the program that uses it.

`instrumentor` says which methods are wrapped and calls nothing but `connection`, which
sees the wire while it happens: what must be started or made current at once. All else is
put into an inbox and told by `recording`, in a thread of ours (`tracing_thread`), from the
frames and the session's own transcript. Nothing here changes a frame that goes to the CLI,
an option, a return value or an exception.
"""
