"""Encryption at rest: values of chosen resources are ciphertext in the store, as upstream's.

``config`` reads upstream's EncryptionConfiguration, ``values`` encrypts one value, ``store`` wraps
another store. Start with ``store``.
"""
