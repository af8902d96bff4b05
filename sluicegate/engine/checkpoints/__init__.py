"""Checkpoints: whole copies of a database, each costing only what is new in it.

manifest    what one checkpoint is: its figures, its plan, and where each block of its database lies
segments    files of blocks, named by their content
store       the checkpoints of one folder: listed, made, put together again, removed
former      checkpoints as earlier releases made them
"""
