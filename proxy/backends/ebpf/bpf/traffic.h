/* Counts packets of connections that a hook translated. It counts at the socket, because the packets
 * themselves no longer show that a Service was called.
 */
#pragma once

#include "packet.h"

static __always_inline void add_traffic(const __u64 *portal, __u32 bytes)
{
	struct traffic none = {}, *sum = bpf_map_lookup_elem(&traffic, portal);

	if (!sum) {
		bpf_map_update_elem(&traffic, portal, &none, BPF_NOEXIST);
		sum = bpf_map_lookup_elem(&traffic, portal);
	}
	if (!sum)
		return;
	__sync_fetch_and_add(&sum->packets, 1);
	__sync_fetch_and_add(&sum->bytes, bytes);
}

static __always_inline void count_packet(struct __sk_buff *skb, bool is_ingress)
{
	struct socket_peer peer = {.socket = bpf_get_socket_cookie(skb)};
	struct packet packet = {};
	__u64 portal, *found;

	if (!peer.socket || !read_packet(skb, &packet))
		return;
	peer.target = is_ingress ? packet.client : packet.destination;
	peer.target.protocol = 0;
	found = bpf_map_lookup_elem(&parties, &peer);
	if (!found)
		return;
	portal = *found;
	add_traffic(&portal, skb->len);
}
