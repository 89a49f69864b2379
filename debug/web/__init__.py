"""``podwire web``: the map on a page of this machine alone, which follows the cluster.

``guard`` decides who may see it, ``live`` reads the cluster while somebody looks, ``app`` answers,
and ``page`` holds what a browser gets: there is no build step, and nothing comes from elsewhere.
"""
