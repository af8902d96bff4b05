"""Formats: from bytes to rows, and from rows to bytes (contract §5.1, §5.3, §9.7)."""
