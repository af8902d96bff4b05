"""What an operator runs beside the API: the dev supervisor, a host's supervisor, probes."""
