"""Transports: how the bytes and rows of connectors come and go (contract §9.6). See `protocol`."""
