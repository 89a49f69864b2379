"""The Pods behind a Service: EndpointSlices, and the older Endpoints.

``backends`` finds the Pods, ``packing`` and ``writing`` distribute them over slices; all is pure.
Start reading in slices.py.
"""
