"""Datagen: rows made up by rule (contract §9.6).

    settings     what a configuration asks for
    shapes       which DuckDB type a value has, and what is in it
    expressions  from settings and shapes to an expression of DuckDB, which makes a whole chunk at once
    numbers, moments, texts   the expressions of one family of types each
    words        texts that only Python can make up, row by row
    source       the rows, in chunks

A row depends on the seed and its index only. What is random in it comes from DuckDB's hash of both, so the
rows of an index may differ between releases of DuckDB.
"""
