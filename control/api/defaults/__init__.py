"""What upstream fills in when the client does not say: pure functions on JSON objects."""
