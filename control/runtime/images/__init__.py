"""Local images: names, archives, the store, and the image ``podwire/tools``.

``layout`` reads a source, ``archive`` unpacks untrusted layers, ``store`` keeps images. May import
control.runtime.builtin.spec (an image's defaults for its containers) and control.linux. Start
reading in store.py.
"""
