"""Benchmarks: each figure beside a floor measured in the same run, since machines differ and drift."""
