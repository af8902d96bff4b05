"""The REST front end: turns calls into signals, queries and updates, and forwards the data plane."""
