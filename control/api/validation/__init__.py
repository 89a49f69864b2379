"""What upstream refuses: pure functions from a model to errors at fields, in upstream's words."""
