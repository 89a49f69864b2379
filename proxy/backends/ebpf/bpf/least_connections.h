/* Least connections: counts the node's open connections to each endpoint. A connection counts from
 * connect until its program closes the socket or ends.
 */
#pragma once

#include "endpoint.h"

static __always_inline __u64 connections_of(const struct target *endpoint)
{
	__u64 *load = bpf_map_lookup_elem(&loads, endpoint);

	return load ? *load : 0;
}

/* Returns the one with fewer connections of two different random endpoints. That is nearly as good
 * as the least of all, and its cost does not grow (Mitzenmacher, "The Power of Two Choices", 2001).
 */
static __always_inline struct target *less_loaded(const struct pool *pool,
						  const struct settings *set)
{
	__u32 number = bpf_get_prandom_u32() % pool->count, others = pool->count - 1;
	struct target *first = endpoint_at(pool, set, number), *second;

	if (!first || !others)
		return first;
	second = endpoint_at(pool, set, number + 1 + bpf_get_prandom_u32() % others);
	return second && connections_of(second) < connections_of(first) ? second : first;
}

static __always_inline void remove_connection(const __u64 *socket)
{
	struct target *counted = bpf_map_lookup_elem(&opened, socket), endpoint;
	__u64 *load;

	if (!counted)
		return;
	endpoint = *counted;
	load = bpf_map_lookup_elem(&loads, &endpoint);
	if (load && *load)
		__sync_fetch_and_add(load, -1);
	bpf_map_delete_elem(&opened, socket);
}

static __always_inline void add_connection(const __u64 *socket, const struct target *endpoint)
{
	__u64 none = 0, *load;

	remove_connection(socket); /* the socket's last connection failed, and it tries again */
	load = bpf_map_lookup_elem(&loads, endpoint);
	if (!load) {
		bpf_map_update_elem(&loads, endpoint, &none, BPF_NOEXIST);
		load = bpf_map_lookup_elem(&loads, endpoint);
	}
	if (load && !bpf_map_update_elem(&opened, socket, endpoint, BPF_ANY))
		__sync_fetch_and_add(load, 1);
}
