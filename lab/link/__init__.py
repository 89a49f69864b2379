"""Bad links: ``podwire lab link`` makes a machine's cable slow, lossy, narrow, or cut.

``quality`` is what a cable can be, ``scripts`` what the kernel is told for it, and ``cable`` tells
it. The keeper does so too, when a machine is started again.
"""
