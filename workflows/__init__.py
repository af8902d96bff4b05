"""Durability: one workflow per pipeline, and the small workflows beside it."""
