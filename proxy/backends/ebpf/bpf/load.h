/* Least connections: how many sockets of the node have a connection to an endpoint open, counted from
 * connect until the program closes the socket, or dies.
 */
#pragma once

#include "choice.h"

static __always_inline __u64 load_of(const struct target *end)
{
	__u64 *load = bpf_map_lookup_elem(&loads, end);

	return load ? *load : 0;
}

/* Of two endpoints, neither twice, the one with fewer connections: nearly as good as the least of
 * all, at a cost that does not grow (Mitzenmacher, "The Power of Two Choices", 2001).
 */
static __always_inline struct target *one_of_two(const struct pool *pool,
						 const struct settings *set)
{
	__u32 number = bpf_get_prandom_u32() % pool->count, others = pool->count - 1;
	struct target *one = any_of(pool, set, number), *other;

	if (!one || !others)
		return one;
	other = any_of(pool, set, number + 1 + bpf_get_prandom_u32() % others);
	return other && load_of(other) < load_of(one) ? other : one;
}

static __always_inline void left(const __u64 *socket)
{
	struct target *had = bpf_map_lookup_elem(&opened, socket), end;
	__u64 *load;

	if (!had)
		return;
	end = *had;
	load = bpf_map_lookup_elem(&loads, &end);
	if (load && *load)
		__sync_fetch_and_add(load, -1);
	bpf_map_delete_elem(&opened, socket);
}

static __always_inline void joined(const __u64 *socket, const struct target *end)
{
	__u64 none = 0, *load;

	left(socket); /* a connection that failed, by a socket that tries again */
	load = bpf_map_lookup_elem(&loads, end);
	if (!load) {
		bpf_map_update_elem(&loads, end, &none, BPF_NOEXIST);
		load = bpf_map_lookup_elem(&loads, end);
	}
	if (load && !bpf_map_update_elem(&opened, socket, end, BPF_ANY))
		__sync_fetch_and_add(load, 1);
}
