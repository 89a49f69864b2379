"""A lab as one file: ``podwire lab save`` writes it, ``podwire lab restore`` makes the lab of it.

``head`` says what such a file is, ``write`` makes one, ``read`` unpacks one that may be damaged or
hostile, and ``commands`` joins them with the running lab.
"""
