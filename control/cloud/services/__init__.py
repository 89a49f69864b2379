"""The service controller: gives Services of type LoadBalancer their load balancers.

``decide`` is pure: what a Service wants, and which changes count. ``controller`` acts, by the cloud
and by the API. Finalizer, Events and order of writes are upstream's.
"""
