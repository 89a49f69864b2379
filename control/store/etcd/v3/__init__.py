"""The messages of etcd v3, as etcd defines them.

``bin/generate-etcd`` makes ``rpc_pb2`` of the published files; nothing here is written by hand, and
nothing but messages belongs here.
"""
