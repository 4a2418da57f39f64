"""`python -m claude_otel.cli` is `claude-otel`."""

from claude_otel.cli import main

main()
