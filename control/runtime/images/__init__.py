"""Local images: names, archives, the store, and the image that podwire makes itself."""
