"""What a pipeline is and what it may do. Pure: no input, no output, no clock; time is a parameter."""
