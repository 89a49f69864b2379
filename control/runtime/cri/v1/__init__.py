"""The messages of CRI ``runtime.v1``, as upstream's api.proto defines them.

``bin/generate-cri`` makes ``api_pb2`` of the published file; nothing here is written by hand, and
nothing but messages belongs here.
"""
