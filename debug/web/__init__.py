"""``podwire web``: the map, traces, the mesh and packets on a page of this machine alone.

``guard`` decides who may see it. ``live`` reads the cluster and its mesh while somebody looks, as
``renewed`` has it; ``packets`` hears what happens, in bounded memory. ``lanes`` draws traces,
``ghost`` puts predictions beside them. ``app`` answers, ``stream`` sends what comes. ``page`` holds
what a browser gets: there is no build step, and nothing comes from elsewhere.
"""
