/* Which endpoint: what sockets and packets have in common. */
#pragma once

#include "maps.h"

#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define SECOND 1000000000ULL /* ns */

struct pool {
	__u32 number, count;
};

static __always_inline bool is_loopback(const struct address *address)
{
	return is_ipv4(address) && (address->word[3] & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
}

static __always_inline bool serves_ports(const struct address *address, const struct settings *set,
					 bool from_node)
{
	if (is_loopback(address))
		return from_node && set->loopback_ports;
	return bpf_map_lookup_elem(&places, address);
}

static __always_inline struct forward *find_forward(const struct target *whom,
						    const struct settings *set, bool from_node)
{
	struct forward *forward = bpf_map_lookup_elem(&frontends, whom);
	struct target port = *whom;

	if (forward || !serves_ports(&whom->address, set, from_node))
		return forward;
	port.address = (struct address){};
	if (is_ipv4(&whom->address))
		port.address.word[2] = bpf_htonl(0xffff);
	return bpf_map_lookup_elem(&frontends, &port);
}

static __always_inline bool has_member(const struct pool *pool, const struct address *address,
				       __be16 port)
{
	struct member member = {.pool = pool->number, .target = {.address = *address, .port = port}};

	return bpf_map_lookup_elem(&members, &member);
}

/* The endpoint that a number falls to: a packet's hash, or one at random. */
static __always_inline struct target *any_of(const struct pool *pool, const struct settings *set,
					     __u32 number)
{
	struct slot slot = {.pool = pool->number, .number = number % pool->count};

	if (set->by_hash) {
		struct slot key = {.pool = pool->number, .number = slot.number / ROW};
		struct row *row = bpf_map_lookup_elem(&seats, &key);

		if (!row)
			return NULL;
		slot.number = row->slot[slot.number % ROW];
	}
	return bpf_map_lookup_elem(&endpoints, &slot);
}

/* The endpoint that a client had, as long as it serves and the client keeps coming; else any, which
 * it then sticks to.
 */
static __always_inline struct target *stick(const struct forward *forward, const struct pool *pool,
					    const struct settings *set,
					    const struct address *source, __u32 number)
{
	struct client client = {.portal = forward->portal, .address = *source};
	struct stay *had = bpf_map_lookup_elem(&clients, &client);
	struct stay stay = {.seen = bpf_ktime_get_ns()};
	struct target *end;

	if (had && stay.seen - had->seen < forward->affinity * SECOND &&
	    has_member(pool, &had->end.address, had->end.port)) {
		had->seen = stay.seen;
		return &had->end;
	}
	end = any_of(pool, set, number);
	if (end) {
		stay.end = *end;
		bpf_map_update_elem(&clients, &client, &stay, BPF_ANY);
	}
	return end;
}

/* One more connection, for whoever wants to know. */
static __always_inline void tally(const struct forward *forward)
{
	__u64 portal = forward->portal, none = 0, *number = bpf_map_lookup_elem(&tallies, &portal);

	if (!number) {
		bpf_map_update_elem(&tallies, &portal, &none, BPF_NOEXIST);
		number = bpf_map_lookup_elem(&tallies, &portal);
	}
	if (number)
		__sync_fetch_and_add(number, 1);
}

static __always_inline bool admits(const struct forward *forward, const struct address *source)
{
	struct admitted key = {.bits = 160, .set = bpf_htonl(forward->ranges), .address = *source};

	return !forward->ranges || bpf_map_lookup_elem(&ranges, &key);
}
