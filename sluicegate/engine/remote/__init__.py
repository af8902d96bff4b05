"""Checkpoints in S3-compatible storage: pushed by one pipeline, pulled by it or by its standby."""
