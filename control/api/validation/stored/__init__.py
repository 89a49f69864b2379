"""The validation of kinds that podwire stores for other controllers, with upstream's messages.

These kinds have no models: the functions read wire objects, whose types are checked before. A file
holds the kinds of one subject; ``control/api/rules.py`` says which kind uses which function.
"""
