#!/usr/bin/env bash
# A DNS answer that scapy builds has a question for www.example.com in it.
#
# One would guess: DNS(qr=1, an=[...]) has no question, or the fields that one left out are empty: an, ns and ar are.
# What it does: the default of "qd" is a question for the A records of www.example.com. A stub resolver drops an
#   answer to another question without a word, and waits until its timeout.
# So: always give qd: the query's own (qd=query[DNS].qd), or qd=[].
# Seen with: scapy 2.8.0, read by dnspython 2.9.2, November 2026.
source "$(dirname "$0")/common.bash"
python scapy==2.8.0 dnspython==2.9.2

seen <<'SCRIPT'
cat > build.py <<'PYTHON'
import logging
logging.disable()
import dns.message
from scapy.layers.dns import DNS, DNSQR, DNSRR

query = dns.message.make_query("kubernetes.default.svc.cluster.local", "A")
asked = DNS(query.to_wire())
record = DNSRR(rrname=asked.qd[0].qname, rdata="10.96.0.1", ttl=5)

def show(name, answer):
    message = dns.message.from_wire(bytes(answer))
    print(f"{name}:")
    print("  question:", *(str(it.name) for it in message.question))
    print("  an answer to the query:", query.is_response(message))

show("without qd", DNS(id=asked.id, qr=1, an=[record]))
show("with the query's qd", DNS(id=asked.id, qr=1, qd=asked.qd, an=[record]))
PYTHON
python build.py
SCRIPT
expect <<'TEXT'
without qd:
  question: www.example.com.
  an answer to the query: False
with the query's qd:
  question: kubernetes.default.svc.cluster.local.
  an answer to the query: True
TEXT
