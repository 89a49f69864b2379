/* The kernel's routes. */
#pragma once

#include "packet.h"

#define AF_INET 2
#define AF_INET6 10

/* What bpf_fib_lookup says of the way from the packet's client to `end`: BPF_FIB_LKUP_RET_…, and
 * less than 0 for a kernel that cannot say.
 */
static __always_inline long find_way(struct __sk_buff *skb, const struct packet *packet,
				     const struct target *end, struct bpf_fib_lookup *way)
{
	way->ifindex = skb->ifindex;
	way->l4_protocol = packet->whom.protocol;
	if (is_ipv4(&end->address)) {
		way->family = AF_INET;
		way->ipv4_src = packet->client.address.word[3];
		way->ipv4_dst = end->address.word[3];
	} else {
		way->family = AF_INET6;
		__builtin_memcpy(way->ipv6_src, &packet->client.address, sizeof(struct address));
		__builtin_memcpy(way->ipv6_dst, &end->address, sizeof(struct address));
	}
	return bpf_fib_lookup(skb, way, sizeof(*way), BPF_FIB_LOOKUP_SKIP_NEIGH | BPF_FIB_LOOKUP_SRC);
}

/* The source that masquerading gives a packet to `end`; false if it cannot be told. What is for
 * this node itself keeps its source.
 */
static __always_inline bool find_source(struct __sk_buff *skb, const struct packet *packet,
					const struct target *end, struct address *source)
{
	struct bpf_fib_lookup way = {};
	long found = find_way(skb, packet, end, &way);

	if (found == BPF_FIB_LKUP_RET_NOT_FWDED)
		return true;
	if (found != BPF_FIB_LKUP_RET_SUCCESS && found != BPF_FIB_LKUP_RET_FRAG_NEEDED)
		return false;
	if (is_ipv4(&end->address))
		*source = (struct address){{0, 0, bpf_htonl(0xffff), way.ipv4_src}};
	else
		__builtin_memcpy(source, way.ipv6_src, sizeof(*source));
	return !is_unset(source);
}
