"""The connectors of a running pipeline: how they are made, when each is active, and what becomes of it.

    order     which connectors wait for others (`labels` and `start_after`)
    inputs    one input connector: from its source into steps
    outputs   one output connector: from steps into its sink
    all       all connectors of a pipeline

A connector is active while the pipeline runs and it is not paused itself; the one knows nothing of the other.
"""
