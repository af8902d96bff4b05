"""The built-in pipeline program: SQL on DuckDB behind the runtime protocol."""
