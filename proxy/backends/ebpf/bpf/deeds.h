/* How often what was done by packets, for whoever wants to know. */
#pragma once

#include "conntrack.h"

enum deed { ENTERED, COLLIDED, SENT_ON, DEEDS };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DEEDS);
	__type(key, __u32);
	__type(value, __u64);
} deeds SEC(".maps");

static __always_inline void count(__u32 deed)
{
	__u64 *number = bpf_map_lookup_elem(&deeds, &deed);

	if (number)
		(*number)++;
}

/* Enters a flow as a connection of the Service, and counts it. */
static __always_inline void begin(struct __sk_buff *skb, const struct packet *packet,
				  const struct forward *forward, const struct target *end,
				  const struct address *source)
{
	if (enter(skb, packet, end, source)) {
		tally(forward);
		count(ENTERED);
	} else {
		count(COLLIDED); /* nftables' rules will count it */
	}
}
