"""The cloud of a lab: load balancers are addresses of pools, which nodes announce.

``pools`` reads them, ``claims`` says what a Service asks for, ``ledger`` says who has what; these
are pure. ``balancers`` is the provider. Annotations and the form of a pool are MetalLB's.
"""
