/* Direct server return: the endpoint's node answers the client, without the node that was called.
 *
 *   client ── to the Service ──► node ── the same packet ──► endpoint's node ──► endpoint
 *      ▲                                                            │
 *      └──────────────── from the Service ──────────────────────────┘
 *
 * Every node chooses the same endpoint for a flow, by its hash. The node that was called sends the
 * packet on unchanged. So the endpoint's node knows the client and the Service, and translates. The
 * endpoint sees the client's own address.
 */
#pragma once

#include "conntrack.h"
#include "actions.h"
#include "route.h"

#include <linux/pkt_cls.h>

#define TTL_AT (ETH_HLEN + 8)
#define CHECKSUM_AT (ETH_HLEN + 10)
#define HOPS_AT (ETH_HLEN + 7)

/* Subtracts one hop, as a router does; false if none is left. */
static __always_inline bool decrement_ttl(struct __sk_buff *skb, bool is_4)
{
	__u32 at = is_4 ? TTL_AT : HOPS_AT;
	__u8 left, fewer;

	if (bpf_skb_load_bytes(skb, at, &left, 1) || left <= 1)
		return false;
	fewer = left - 1;
	if (is_4 &&
	    bpf_l3_csum_replace(skb, CHECKSUM_AT, bpf_htons(left << 8), bpf_htons(fewer << 8), 2))
		return false;
	return !bpf_skb_store_bytes(skb, at, &fewer, 1, 0);
}

/* Sends the packet to the next hop on the route to an endpoint of another node. */
VERIFIED_ONCE int send_on(struct __sk_buff *skb, const struct packet *packet,
			  const struct target *endpoint)
{
	struct bpf_fib_lookup route = {};
	struct bpf_redir_neigh hop = {};

	if (!packet || !endpoint ||
	    find_route(skb, packet, endpoint, &route) != BPF_FIB_LKUP_RET_SUCCESS)
		return TC_ACT_UNSPEC;
	hop.nh_family = route.family;
	__builtin_memcpy(hop.ipv6_nh, route.ipv6_dst, sizeof(hop.ipv6_nh));
	if (!decrement_ttl(skb, is_ipv4(&packet->destination.address)))
		return TC_ACT_UNSPEC;
	return bpf_redirect_neigh(route.ifindex, &hop, sizeof(hop), 0);
}

/* Finds the endpoint of a `direct` flow. A flow keeps its endpoint: TCP until the connection ends,
 * UDP as long as the endpoint serves. Otherwise the flow's hash selects it, as on all other nodes.
 */
static __always_inline bool find_direct_endpoint(const struct packet *packet,
						 const struct flow *flow,
						 const struct forward *forward,
						 const struct settings *set,
						 struct target *endpoint)
{
	struct pool pool = {forward->pool, forward->count};
	struct target *found = bpf_map_lookup_elem(&sent_on, flow);

	if (found && !packet->begins) {
		*endpoint = *found;
		return true;
	}
	if (!found || !has_member(&pool, &found->address, found->port))
		found = endpoint_at(&pool, set, hash(packet));
	if (found)
		*endpoint = *found;
	return found;
}

/* Handles a packet from outside to a `direct` frontend. This node does not track its flow; only the
 * endpoint's node does.
 */
VERIFIED_ONCE int return_directly(struct __sk_buff *skb, const struct packet *packet,
				  const struct forward *forward, const struct settings *set)
{
	struct target endpoint;
	struct flow flow;
	struct pool here;
	int done;

	if (!packet || !forward || !set)
		return TC_ACT_UNSPEC;
	flow = (struct flow){.client = packet->client, .destination = packet->destination};
	here = (struct pool){forward->inside, forward->inside_count};
	if (!find_direct_endpoint(packet, &flow, forward, set, &endpoint))
		return TC_ACT_UNSPEC; /* the pool was replaced meanwhile */
	if (has_member(&here, &endpoint.address, endpoint.port)) {
		begin_flow(skb, packet, forward, &endpoint, &packet->client.address);
		return TC_ACT_UNSPEC;
	}
	done = send_on(skb, packet, &endpoint);
	if (done == TC_ACT_REDIRECT) {
		bpf_map_update_elem(&sent_on, &flow, &endpoint, BPF_ANY);
		count(SENT_ON);
	}
	return done;
}
