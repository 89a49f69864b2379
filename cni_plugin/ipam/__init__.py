"""Address management: who holds which address of a network.

``ranges`` decides, ``store`` keeps reservations in host-local's files, ``local`` joins the two,
``delegate`` executes another IPAM plugin instead.
"""
