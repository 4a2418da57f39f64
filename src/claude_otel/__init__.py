"""OpenTelemetry-native instrumentation for Claude Code and the Claude Agent SDK.

Nothing is imported here: a hook process must be able to import from this
package without paying for what it does not use.
"""
