/* Packets of what a hook has sent to an endpoint, as its socket sees them: on the way nobody can tell
 * any more that a Service was called.
 */
#pragma once

#include "packet.h"

static __always_inline void add_traffic(const __u64 *portal, __u32 bytes)
{
	struct traffic none = {}, *sum = bpf_map_lookup_elem(&traffics, portal);

	if (!sum) {
		bpf_map_update_elem(&traffics, portal, &none, BPF_NOEXIST);
		sum = bpf_map_lookup_elem(&traffics, portal);
	}
	if (!sum)
		return;
	__sync_fetch_and_add(&sum->packets, 1);
	__sync_fetch_and_add(&sum->bytes, bytes);
}

static __always_inline void see(struct __sk_buff *skb, bool comes_in)
{
	struct talk talk = {.socket = bpf_get_socket_cookie(skb)};
	struct packet packet = {};
	__u64 portal, *found;

	if (!talk.socket || !read_packet(skb, &packet))
		return;
	talk.with = comes_in ? packet.client : packet.whom;
	talk.with.protocol = 0;
	found = bpf_map_lookup_elem(&parties, &talk);
	if (!found)
		return;
	portal = *found;
	add_traffic(&portal, skb->len);
}
