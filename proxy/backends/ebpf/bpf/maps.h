/* What the proxy tells the programs, and what the programs remember. proxy/backends/ebpf/layout.py packs the
 * same structures.
 */
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define KERNEL __attribute__((preserve_access_index)) /* a part of a structure of the kernel's */

/* Network order; an IPv4 address is ::ffff:a.b.c.d, as IPv6 sockets see it. */
struct address {
	__u32 word[4];
};

struct target {
	struct address address;
	__be16 port;
	__u16 protocol; /* of a frontend; 0 in an endpoint */
};

enum masquerade { NEVER = 1, ALWAYS, NOT_PODS, THIS_NODE };

/* What becomes of a connection to a frontend. A pool has `count` slots, or seats if balancing is by
 * hash.
 */
struct forward {
	__u32 pool, count;
	__u32 inside, inside_count; /* for who is on this node, where that differs; see `direct` too */
	__u64 portal;		    /* the Service's port, under all its addresses */
	__u32 affinity;		    /* its clients stick to an endpoint for so many seconds, if any */
	__u32 ranges;		    /* from where alone it is to be reached; 0: from everywhere */
	__u8 masquerade;
	__u8 has_inside;
	__u8 rejects;	 /* when its pool is empty, instead of dropping */
	__u8 by_nftables; /* what no program here can do */
	__u8 direct;	 /* the endpoint's node answers; `inside` are the pool's endpoints here */
	__u8 to_fewest;	 /* sockets go to who has fewer connections open, of two */
	__u8 zero[2];
};

struct slot {
	__u32 pool, number;
};

/* Some seats of a pool, in one entry: which slot each leads to. */
#define ROW 64

struct row {
	__u16 slot[ROW];
};

struct member {
	__u32 pool;
	struct target target; /* port 0: of any port */
};

/* A client that sticks to an endpoint. */
struct client {
	__u64 portal;
	struct address address;
};

struct stay {
	struct target end;
	__u32 zero;
	__u64 seen; /* ns since boot */
};

/* A source range of a set, for a trie: `bits` count from `set` on. */
struct admitted {
	__u32 bits;
	__be32 set;
	struct address address;
};

/* A flow, and whom its packets call. */
struct flow {
	struct target client, whom;
};

/* A socket and somebody it speaks with. */
struct talk {
	__u64 socket;
	struct target with;
	__u32 zero;
};

/* In both directions, so far. */
struct traffic {
	__u64 packets, bytes;
};

struct range {
	struct address network, mask;
};

struct settings {
	__u64 node;		   /* cookie of the node's network namespace */
	__u8 loopback_ports;	   /* NodePorts at 127.0.0.0/8 */
	__u8 tells_pods;	   /* bits: 1 for IPv4, 2 for IPv6 */
	__u8 by_interface;	   /* the same: pods are told by an interface, which no hook sees */
	__u8 by_hash;		   /* of a packet's addresses and ports (Maglev), else at random */
	__u8 has_direct;	   /* some frontends are `direct` */
	__u8 sees_traffic;	   /* packets are counted at sockets */
	__u8 zero[2];
	struct range pods[2];	   /* IPv4, IPv6 */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct settings);
} settings SEC(".maps");

#define TABLE(name, entries, K, V)                                                                 \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_HASH);                                                   \
		__uint(map_flags, BPF_F_NO_PREALLOC);                                              \
		__uint(max_entries, entries);                                                      \
		__type(key, K);                                                                    \
		__type(value, V);                                                                  \
	} name SEC(".maps")

/* The proxy sets the sizes when it loads. A frontend without an address is a NodePort. */
TABLE(frontends, 1024, struct target, struct forward);
TABLE(endpoints, 1024, struct slot, struct target);
TABLE(seats, 1024, struct slot, struct row); /* by pool and number of the row */
TABLE(members, 1024, struct member, __u8);
TABLE(places, 1024, struct address, __u8); /* node addresses that serve NodePorts */
TABLE(tallies, 65536, __u64, __u64);	   /* by portal: its new connections so far */
TABLE(traffics, 65536, __u64, struct traffic); /* by portal: what its callers' sockets saw */

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, struct admitted);
	__type(value, __u8);
} ranges SEC(".maps");

#define MEMORY(name, entries, K, V)                                                                \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_LRU_HASH);                                               \
		__uint(max_entries, entries);                                                      \
		__type(key, K);                                                                    \
		__type(value, V);                                                                  \
	} name SEC(".maps")

/* These outlive a restart: sockets go on. */
MEMORY(callees, 65536, struct talk, struct target);   /* with an endpoint: whom it had called */
MEMORY(choices, 65536, struct talk, struct target);   /* with a Service, by UDP: who answers it */
MEMORY(sent_on, 65536, struct flow, struct target);   /* to an endpoint of another node */
MEMORY(clients, 65536, struct client, struct stay);   /* of Services with session affinity */
MEMORY(parties, 65536, struct talk, __u64);           /* with an endpoint: which portal it is for */
MEMORY(opened, 65536, __u64, struct target);          /* by socket: its connection, if it counts */
MEMORY(loads, 65536, struct target, __u64);           /* so many of these has an endpoint */

static __always_inline bool is_ipv4(const struct address *address)
{
	return !address->word[0] && !address->word[1] && address->word[2] == bpf_htonl(0xffff);
}

static __always_inline bool is_same(const struct address *one, const struct address *other)
{
	return one->word[0] == other->word[0] && one->word[1] == other->word[1] &&
	       one->word[2] == other->word[2] && one->word[3] == other->word[3];
}

static __always_inline bool is_within(const struct address *address, const struct range *range)
{
	for (int i = 0; i < 4; i++)
		if ((address->word[i] & range->mask.word[i]) != range->network.word[i])
			return false;
	return true;
}

/* Nothing, in either family. */
static __always_inline bool is_unset(const struct address *address)
{
	return !address->word[0] && !address->word[1] && !address->word[3] &&
	       (!address->word[2] || is_ipv4(address));
}
