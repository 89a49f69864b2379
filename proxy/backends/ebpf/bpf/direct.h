/* Direct server return: the endpoint's node answers the client, past the node that was called.
 *
 *   client ── to the Service ──► node ── the same packet ──► endpoint's node ──► endpoint
 *      ▲                                                            │
 *      └──────────────── from the Service ──────────────────────────┘
 *
 * Every node takes the same endpoint for a flow, by its hash. The node that was called sends the
 * packet on as it is, so that the endpoint's node knows who called whom, and translates. The
 * endpoint sees the client's own address.
 */
#pragma once

#include "conntrack.h"
#include "deeds.h"
#include "way.h"

#include <linux/pkt_cls.h>

#define TTL_AT (ETH_HLEN + 8)
#define CHECKSUM_AT (ETH_HLEN + 10)
#define HOPS_AT (ETH_HLEN + 7)

/* One hop less; false if it was the last. */
static __always_inline bool spend_hop(struct __sk_buff *skb, bool is_4)
{
	__u32 at = is_4 ? TTL_AT : HOPS_AT;
	__u8 left, fewer;

	if (bpf_skb_load_bytes(skb, at, &left, 1) || left <= 1)
		return false;
	fewer = left - 1;
	if (is_4 && bpf_l3_csum_replace(skb, CHECKSUM_AT, bpf_htons(left << 8),
					bpf_htons(fewer << 8), 2))
		return false;
	return !bpf_skb_store_bytes(skb, at, &fewer, 1, 0);
}

/* Sends the packet to the next hop towards an endpoint elsewhere. */
static __always_inline int send_on(struct __sk_buff *skb, const struct packet *packet,
				   const struct target *end)
{
	struct bpf_fib_lookup way = {};
	struct bpf_redir_neigh hop = {};

	if (find_way(skb, packet, end, &way) != BPF_FIB_LKUP_RET_SUCCESS)
		return TC_ACT_UNSPEC;
	hop.nh_family = way.family;
	__builtin_memcpy(hop.ipv6_nh, way.ipv6_dst, sizeof(hop.ipv6_nh));
	if (!spend_hop(skb, is_ipv4(&packet->whom.address)))
		return TC_ACT_UNSPEC;
	return bpf_redirect_neigh(way.ifindex, &hop, sizeof(hop), 0);
}

/* The endpoint of a flow that is `direct`: the one that it had, as TCP does as long as it lasts, and
 * UDP as long as the endpoint serves; else the one that its hash falls to, on this node and others.
 */
static __always_inline bool find_end(const struct packet *packet, const struct forward *forward,
				     const struct settings *set, struct target *end)
{
	struct flow flow = {.client = packet->client, .whom = packet->whom};
	struct pool pool = {forward->pool, forward->count};
	struct target *found = bpf_map_lookup_elem(&sent_on, &flow);

	if (found && !packet->begins) {
		*end = *found;
		return true;
	}
	if (!found || !has_member(&pool, &found->address, found->port))
		found = any_of(&pool, set, hash(packet));
	if (found)
		*end = *found;
	return found;
}

/* What becomes of a packet from outside to a frontend that is `direct`, of a flow that this node
 * does not track: as only the endpoint's node does.
 */
static __always_inline int return_directly(struct __sk_buff *skb, const struct packet *packet,
					   const struct forward *forward,
					   const struct settings *set)
{
	struct flow flow = {.client = packet->client, .whom = packet->whom};
	struct pool here = {forward->inside, forward->inside_count};
	struct target end;
	int done;

	if (!find_end(packet, forward, set, &end))
		return TC_ACT_UNSPEC; /* the pool has just been replaced */
	if (has_member(&here, &end.address, end.port)) {
		begin(skb, packet, forward, &end, &packet->client.address);
		return TC_ACT_UNSPEC;
	}
	done = send_on(skb, packet, &end);
	if (done == TC_ACT_REDIRECT) {
		bpf_map_update_elem(&sent_on, &flow, &end, BPF_ANY);
		count(SENT_ON);
	}
	return done;
}
