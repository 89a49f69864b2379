/* NetworkPolicies for frames between two Pods of a bridge, which netfilter does not see.
 *
 *   Pod ──► program ── known flow, or one that the maps admit ──► bridge ──► Pod
 *              └────── all else ──► node: nftables' rules decide, count and log
 *
 * So the maps only have to admit nothing that the rules would drop; they may lack what the rules
 * admit. Every entry admits something, and none forbids anything: while entries come or go one by one,
 * the maps never admit more than they do before and after.
 */
#pragma once

#include "conntrack.h"

#define EVERYBODY 0xffffffff /* a group */
#define FLOWS 65536

enum guard { UNGUARDED, LEARNING, ENFORCING };

/* What guards a Pod's address. `…_always` are groups whose members are admitted at every port; 0:
 * nobody. `egress` and `ingress` are the profiles of ports; 0: none.
 */
struct post {
	__u32 egress, egress_always;
	__u32 ingress, ingress_always;
};

/* A range of ports as the key of a trie: `bits` are counted from `profile` on. */
struct door {
	__u32 bits;
	__be32 profile;
	__u8 protocol;
	__u8 zero;
	__be16 port;
};

struct peer {
	__u32 group;
	struct address address;
};

/* A flow in both directions; TCP's states are those that have a lifetime of their own. */
enum flow_state { OPENING, OPEN, CLOSING };

struct known {
	__u64 seen; /* ns since boot */
	__u32 state;
	__u32 zero;
};

/* These are pinned, and outlive programs and proxy: what is in force stays. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} policy_guard SEC(".maps");

#define TRIE(name, entries, K, V)                                                                  \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_LPM_TRIE);                                               \
		__uint(map_flags, BPF_F_NO_PREALLOC);                                              \
		__uint(max_entries, entries);                                                      \
		__type(key, K);                                                                    \
		__type(value, V);                                                                  \
	} name SEC(".maps")

TABLE(policy_posts, 8192, struct address, struct post);
TABLE(policy_peers, 262144, struct peer, __u8);
TRIE(policy_doors, 262144, struct door, __u32); /* to a group */
TRIE(policy_blocks, 262144, struct admitted, __u8);
MEMORY(policy_flows, FLOWS, struct flow, struct known);

static __always_inline bool is_greater(const struct target *one, const struct target *other)
{
	for (int i = 3; i >= 0; i--)
		if (one->address.word[i] != other->address.word[i])
			return one->address.word[i] > other->address.word[i];
	return one->port > other->port;
}

/* The same key for both directions. */
static __always_inline void fill_flow(const struct packet *packet, struct flow *flow)
{
	if (is_greater(&packet->client, &packet->destination)) {
		flow->client = packet->destination;
		flow->destination = packet->client;
	} else {
		flow->client = packet->client;
		flow->destination = packet->destination;
	}
	flow->client.protocol = flow->destination.protocol = packet->destination.protocol;
}

/* Lifetimes without a packet, as connection tracking has them. */
static __always_inline __u64 lifetime(const struct flow *flow, __u32 state)
{
	return flow->client.protocol == IPPROTO_TCP && state == OPEN ? 432000 * SECOND : 120 * SECOND;
}

static __always_inline bool is_known(const struct flow *flow, const struct packet *packet)
{
	struct known *known = bpf_map_lookup_elem(&policy_flows, flow);
	__u64 now;

	if (!known)
		return false;
	now = bpf_ktime_get_coarse_ns();
	if (now > known->seen) {
		if (now - known->seen > lifetime(flow, known->state))
			return false;
		if (now - known->seen > SECOND)
			known->seen = now;
	}
	if (packet->ends)
		known->state = CLOSING;
	else if (known->state == OPENING)
		known->state = OPEN;
	return true;
}

static __always_inline bool remember(const struct flow *flow, __u32 state)
{
	struct known known = {.seen = bpf_ktime_get_coarse_ns(), .state = state};

	return !bpf_map_update_elem(&policy_flows, flow, &known, BPF_ANY);
}

static __always_inline bool is_in_group(__u32 group, const struct address *address)
{
	struct peer peer = {group, *address};
	struct admitted block = {.bits = 160, .set = bpf_htonl(group), .address = *address};

	if (!group || group == EVERYBODY)
		return group;
	return bpf_map_lookup_elem(&policy_peers, &peer) ||
	       bpf_map_lookup_elem(&policy_blocks, &block);
}

static __always_inline bool lets_pass(__u32 profile, __u32 always, const struct target *to,
				      const struct address *other)
{
	struct door door = {64, bpf_htonl(profile), to->protocol, 0, to->port};
	__u32 *group;

	if (is_in_group(always, other))
		return true;
	if (!profile)
		return false;
	group = bpf_map_lookup_elem(&policy_doors, &door);
	return group && is_in_group(*group, other);
}

/* True if the policies of both Pods admit a flow of this first packet. Both are this node's. */
static __always_inline bool is_admitted(const struct packet *packet)
{
	/* Copies: see VERIFIED_ONCE. */
	struct address from = packet->client.address, to = packet->destination.address;
	struct post *source = bpf_map_lookup_elem(&policy_posts, &from), *target;

	if (!source)
		return false;
	target = bpf_map_lookup_elem(&policy_posts, &to);
	return target &&
	       lets_pass(source->egress, source->egress_always, &packet->destination, &to) &&
	       lets_pass(target->ingress, target->ingress_always, &packet->destination, &from);
}

static __always_inline __u32 guard(void)
{
	__u32 zero = 0, *found = bpf_map_lookup_elem(&policy_guard, &zero);

	return found ? *found : UNGUARDED;
}

/* True if a TCP or UDP packet may stay on the bridge. While the program learns, before the first rules
 * are in force, it admits every flow.
 */
VERIFIED_ONCE int may_pass(const struct packet *packet, __u32 guard)
{
	struct flow flow = {};
	bool is_tcp;

	if (!packet)
		return false;
	is_tcp = packet->destination.protocol == IPPROTO_TCP;
	fill_flow(packet, &flow);
	if (!(is_tcp && packet->begins)) { /* a SYN is decided anew */
		if (is_known(&flow, packet))
			return true;
		if (is_tcp && guard != LEARNING)
			return false;
	}
	if (guard != LEARNING && !is_admitted(packet))
		return false;
	return remember(&flow, is_tcp && packet->begins ? OPENING : OPEN);
}

/* Neighbor discovery and multicast listeners: there is no IPv6 on a link without them. */
static __always_inline bool keeps_link(__u8 type)
{
	return (type >= 130 && type <= 137) || type == 143;
}

static __always_inline bool is_link_local(const struct address *address)
{
	return (address->word[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000);
}
