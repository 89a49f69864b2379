"""Which groups, versions and resources there are: /api, /apis. (helper 7, from 13:48)"""
