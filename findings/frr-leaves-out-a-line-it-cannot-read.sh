#!/usr/bin/env bash
# FRR starts with a configuration that it cannot read in part: the lines are gone, and nobody is told.
#
# One would guess: bgpd refuses a file with a wrong line, as BIRD does, or says so in its output or exit code.
# What happens: bgpd reads the file, leaves out the lines that it cannot read, and runs with the others: it
#   prints nothing, and ends with 0. Its running configuration lacks them. So a password of two words is
#   none, with and without quotes ("description" takes both words): the session then has no TCP MD5, and never comes
#   up with a peer that has it. "vtysh -C" finds the lines, and ends with 2.
# So: run "vtysh -C -f FILE" before a daemon reads a file; choose BGP passwords without spaces, which BIRD takes in
#   quotes and FRR in no way.
# Seen with: FRR 8.4.4 (Debian 12), BIRD 2.0.12, November 2026.
source "$(dirname "$0")/common.bash"
debian frr=8.4.4-1.1~deb12u2 libyang2 libjson-c5 libpcre2-8-0 libreadline8 bird2=2.0.12-7

seen <<'SCRIPT'
mount -t overlay none -o "lowerdir=$PWD/debian/usr/share:/usr/share" /usr/share  # FRR's data models
export LD_LIBRARY_PATH=$LD_LIBRARY_PATH:$PWD/debian/usr/lib/x86_64-linux-gnu/frr
mkdir run
cat > bgpd.conf <<'CONF'
router bgp 64512
 neighbor 192.0.2.2 remote-as 64513
 neighbor 192.0.2.2 description two words
 neighbor 192.0.2.2 password two words
 neighbor 192.0.2.3 remote-as 64513
 neighbor 192.0.2.3 password "two words"
 neighbor 192.0.2.4 remote-as 64513
 neighbor 192.0.2.4 password word
CONF
debian/usr/lib/frr/bgpd -S -n -P 0 -f bgpd.conf --vty_socket run -i run/pid > run/said 2>&1 &
until vtysh --vty_socket run -c 'show version' > run/version 2>&1; do sleep 0.1; done
vtysh --vty_socket run -c 'show running-config' | grep neighbor
kill %1
wait %1 && echo "bgpd ends with $?, said $(wc -c < run/said) bytes"
vtysh -C -f bgpd.conf || echo "vtysh -C ends with $?"

cat > bird.conf <<'CONF'
router id 192.0.2.1;
protocol bgp { local as 64512; neighbor 192.0.2.2 as 64513; password two words; ipv4 { import all; export none; }; }
CONF
bird -p -c bird.conf || echo "bird ends with $?"
sed -i 's/two words/"two words"/' bird.conf
bird -p -c bird.conf && echo "bird takes it in quotes"
SCRIPT

expect <<'TEXT'
 neighbor 192.0.2.2 remote-as 64513
 neighbor 192.0.2.2 description two words
 neighbor 192.0.2.3 remote-as 64513
 neighbor 192.0.2.4 remote-as 64513
 neighbor 192.0.2.4 password word
bgpd ends with 0, said 0 bytes
line 4: % Unknown command[25]:  neighbor 192.0.2.2 password two words
line 6: % Unknown command[25]:  neighbor 192.0.2.3 password "two words"
vtysh -C ends with 2
bird: bird.conf:2:70 syntax error, unexpected CF_SYM_UNDEFINED, expecting CF_SYM_KNOWN or TEXT
bird ends with 1
bird takes it in quotes
TEXT
