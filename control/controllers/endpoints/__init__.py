"""Which Pods are behind a Service: EndpointSlices, and the older Endpoints."""
