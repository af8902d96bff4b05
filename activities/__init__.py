"""Effects: everything a workflow does to the world, each idempotent and addressed by id and generation."""
