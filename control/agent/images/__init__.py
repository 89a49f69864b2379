"""Images of Pods: found or pulled, with whose credentials, how often, and which may be removed.

``manager`` asks the runtime, and records Events; ``keyring`` finds the credentials of a registry;
``pulled`` remembers on disk who may use what was pulled. Start with ``manager``.
"""
