/* How often what was done by packets, for whoever wants to know. */
#pragma once

#include "maps.h"

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
