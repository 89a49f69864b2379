"""Who is whom: which Pods a selector selects, which belong to a peer, which has an address. Pure."""
