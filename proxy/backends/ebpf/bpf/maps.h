/* The maps: tables that the proxy writes, and memories that the programs write.
 * proxy/backends/ebpf/layout.py packs the same structures.
 */
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define KERNEL __attribute__((preserve_access_index)) /* some fields of a kernel structure */

/* A function that the kernel verifies by itself, once, and not at each call again with all that may have
 * been before: that makes a program load in a fraction of the time. Its pointers have to be checked, and
 * Linux 6.1 takes what they point at for no key of a map, only a copy of it on the stack.
 */
#define VERIFIED_ONCE __attribute__((noinline))

/* In network byte order. An IPv4 address is ::ffff:a.b.c.d, as IPv6 sockets see it. */
struct address {
	__u32 word[4];
};

struct target {
	struct address address;
	__be16 port;
	__u16 protocol; /* of a frontend; 0 for an endpoint */
};

enum masquerade { NEVER = 1, ALWAYS, NOT_PODS, THIS_NODE };

/* A frontend's rule: which pool serves it, and how. A pool has `count` slots, or seats if balancing
 * is by hash.
 */
struct forward {
	__u32 pool, count;
	__u32 inside, inside_count; /* another pool for clients on this node; see `direct` too */
	__u64 portal; /* ID of the Service's port, for all its addresses */
	__u32 affinity; /* seconds for which a client keeps its endpoint; 0: no affinity */
	__u32 ranges; /* ID of the allowed source ranges; 0: all are allowed */
	__u8 masquerade;
	__u8 has_inside;
	__u8 rejects; /* an empty pool rejects instead of dropping */
	__u8 by_nftables; /* only nftables can serve it */
	__u8 direct; /* the endpoint's node answers; `inside` is the pool's part here */
	__u8 least_connections; /* sockets choose the less loaded of two endpoints */
	__u8 zero[2];
};

struct slot {
	__u32 pool, number;
};

/* ROW seats of a pool in one entry: the slot of each. */
#define ROW 64

struct row {
	__u16 slot[ROW];
};

struct member {
	__u32 pool;
	struct target target; /* port 0: a Pod that may be on this node, and call itself */
};

/* LASTING endpoints keep the UDP sockets that they have, and get no new calls. */
enum membership { CHOSEN = 1, LASTING };

/* A client of a Service with session affinity. */
struct client {
	__u64 portal;
	struct address address;
};

struct sticky {
	struct target endpoint;
	__u32 zero;
	__u64 seen; /* ns since boot */
};

/* A source range, as the key of a trie: `bits` are counted from `set` on. */
struct admitted {
	__u32 bits;
	__be32 set;
	struct address address;
};

/* A flow by its client and the address that it called. */
struct flow {
	struct target client, destination;
};

/* A socket and an address that it sends to. */
struct socket_peer {
	__u64 socket;
	struct target target;
	__u32 zero;
};

/* In both directions. */
struct traffic {
	__u64 packets, bytes;
};

struct range {
	struct address network, mask;
};

struct settings {
	__u64 node; /* cookie of the node's network namespace */
	__u8 loopback_ports; /* NodePorts are served at 127.0.0.0/8 */
	__u8 pods_by_range; /* `pods` is known; bits: 1 for IPv4, 2 for IPv6 */
	__u8
	    pods_by_interface; /* the same bits: Pods are known by interface, which no socket shows */
	__u8 by_hash; /* packets choose by hash (Maglev), otherwise at random */
	__u8 has_direct; /* some frontends are `direct` */
	__u8 counts_packets; /* count sockets' packets */
	__u8 zero[2];
	struct range pods[2]; /* IPv4, IPv6 */
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

/* The proxy sets the sizes when it loads the programs. A frontend without an address is a NodePort. */
TABLE(frontends, 1024, struct target, struct forward);
TABLE(endpoints, 1024, struct slot, struct target);
TABLE(seats, 1024, struct slot, struct row); /* by pool and row number */
TABLE(members, 1024, struct member, __u8); /* enum membership */
TABLE(node_addresses, 1024, struct address, __u8); /* those that serve NodePorts */
TABLE(connections, 65536, __u64, __u64); /* by portal: how many began */
TABLE(traffic, 65536, __u64, struct traffic); /* by portal: its callers' packets */

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

/* These outlive a restart of the proxy, as sockets and flows do. */
/* By socket and endpoint: the address that the process called. */
MEMORY(callees, 65536, struct socket_peer, struct target);
/* By socket and Service, for UDP: the endpoint. */
MEMORY(choices, 65536, struct socket_peer, struct target);
/* By flow: its endpoint on another node. */
MEMORY(sent_on, 65536, struct flow, struct target);
/* By client of a Service with session affinity: its last endpoint. */
MEMORY(clients, 65536, struct client, struct sticky);
/* By socket and endpoint: the portal, whose packets are counted. */
MEMORY(parties, 65536, struct socket_peer, __u64);
/* By socket: the endpoint of its connection, which is counted in `loads`. */
MEMORY(opened, 65536, __u64, struct target);
/* By endpoint: how many connections are open. */
MEMORY(loads, 65536, struct target, __u64);

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

/* True for the unspecified address of either family. */
static __always_inline bool is_unset(const struct address *address)
{
	return !address->word[0] && !address->word[1] && !address->word[3] &&
	       (!address->word[2] || is_ipv4(address));
}
