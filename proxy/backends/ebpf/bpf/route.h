/* Lookups in the kernel's routing tables. */
#pragma once

#include "packet.h"

#define AF_INET 2
#define AF_INET6 10

/* Looks up the route from the packet's client to `endpoint`. Returns BPF_FIB_LKUP_RET_…, or less than
 * 0 if the kernel does not support the lookup.
 */
static __always_inline long find_route(struct __sk_buff *skb, const struct packet *packet,
				       const struct target *endpoint, struct bpf_fib_lookup *route)
{
	route->ifindex = skb->ifindex;
	route->l4_protocol = packet->destination.protocol;
	if (is_ipv4(&endpoint->address)) {
		route->family = AF_INET;
		route->ipv4_src = packet->client.address.word[3];
		route->ipv4_dst = endpoint->address.word[3];
	} else {
		route->family = AF_INET6;
		__builtin_memcpy(route->ipv6_src, &packet->client.address, sizeof(struct address));
		__builtin_memcpy(route->ipv6_dst, &endpoint->address, sizeof(struct address));
	}
	return bpf_fib_lookup(skb, route, sizeof(*route),
			      BPF_FIB_LOOKUP_SKIP_NEIGH | BPF_FIB_LOOKUP_SRC);
}

/* Finds the source that masquerading gives a packet to `endpoint`; false if it is unknown. Packets to
 * this node itself keep their source.
 */
VERIFIED_ONCE int find_source(struct __sk_buff *skb, const struct packet *packet,
			      const struct target *endpoint, struct address *source)
{
	struct bpf_fib_lookup route = {};
	long found;

	if (!packet || !endpoint || !source)
		return false;
	found = find_route(skb, packet, endpoint, &route);
	if (found == BPF_FIB_LKUP_RET_NOT_FWDED)
		return true;
	if (found != BPF_FIB_LKUP_RET_SUCCESS && found != BPF_FIB_LKUP_RET_FRAG_NEEDED)
		return false;
	if (is_ipv4(&endpoint->address))
		*source = (struct address){{0, 0, bpf_htonl(0xffff), route.ipv4_src}};
	else
		__builtin_memcpy(source, route.ipv6_src, sizeof(*source));
	return !is_unset(source);
}
