"""Bodies in protobuf, as typed Go clients write them, become JSON at the edge."""
