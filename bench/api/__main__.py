"""``bin/bench api``: what a user of the server waits for, or each verb beside another checkout."""

import sys

from bench.api import rows, verbs

if __name__ == "__main__":
    # With another checkout it is about processor time by verb, else about clients that wait.
    named = any(word.split("=")[0] == "--against" for word in sys.argv)
    (verbs if named else rows).main()
