"""Sluicegate: a durable control plane for SQL data pipelines."""

__version__ = "0.1.0"
