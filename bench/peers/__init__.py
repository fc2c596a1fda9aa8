"""Catalyst measured side by side with what people use today: `make bench-peers`."""
