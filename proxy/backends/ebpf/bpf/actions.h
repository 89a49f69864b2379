/* Counters of what the program did with packets; `bpftool map dump name actions` shows them. */
#pragma once

#include "conntrack.h"

enum action { ENTERED, COLLIDED, SENT_ON, ROUTED, ACTIONS };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, ACTIONS);
	__type(key, __u32);
	__type(value, __u64);
} actions SEC(".maps");

static __always_inline void count(__u32 action)
{
	__u64 *number = bpf_map_lookup_elem(&actions, &action);

	if (number)
		(*number)++;
}

/* Adds a flow to connection tracking and counts it as a connection of the Service. */
VERIFIED_ONCE int begin_flow(struct __sk_buff *skb, const struct packet *packet,
			     const struct forward *forward, const struct target *endpoint,
			     const struct address *source)
{
	if (!packet || !forward || !endpoint || !source)
		return 0;
	if (add_flow(skb, packet, endpoint, source)) {
		count_connection(forward);
		count(ENTERED);
	} else {
		count(COLLIDED); /* nftables' rules serve and count it */
	}
	return 0;
}
