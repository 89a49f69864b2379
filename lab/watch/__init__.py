"""``podwire lab watch``: README's drawing of a lab, live in the terminal.

``picture`` is what there is to see, as values, and how it is made of the API's objects; ``draw``
turns it into text; ``gather`` reads the machines; ``live`` joins them, once or for ever.
"""
