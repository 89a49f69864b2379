"""Authentication, authorization, and the review resources that ask about them.

May import ``pages`` and the layers below. Start reading with ``authn.py`` (who sends a request),
then ``authz.py`` (what a user may do).
"""
