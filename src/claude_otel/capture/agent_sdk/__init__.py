"""The Claude Agent SDK, seen from inside the program that uses it.

`wrappers` says which methods are wrapped, `taps` what stands in for its streams; both call
nothing but `connection`, which sees the wire while it happens: what must be started or made
current at once. All else is put into an inbox and told by `recording`, in a thread of ours
(`tracing_thread`), from the frames and the session's own transcript. Nothing here changes a
frame that goes to the CLI, an option, a return value or an exception.
"""
