"""How long hostile requests keep another client of the API server waiting.

Start reading at ``__main__``; ``bodies`` has what is sent, ``routes`` where to, ``asker`` is the
other client's process. Nothing here is sent to other software than podwire.
"""
