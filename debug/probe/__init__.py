"""``podwire probe``: how long connects take, what is sent again, what is dropped, by Service.

Programs on the kernel's tracepoints (``bpf/``) hear the whole machine for some seconds. ``means``
chooses how they are loaded: ``core`` by libbpf, ``bcc`` by bcc in a process of its own
(``compiler``). ``events`` unpacks what they tell, ``naming`` gives it names, ``measure`` adds it
up, ``text`` shows it; ``commands`` carries out what ``cli`` declares.
"""
