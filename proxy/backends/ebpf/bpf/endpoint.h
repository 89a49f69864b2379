/* The choice of a frontend and of its endpoint, for sockets and packets alike. */
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
	return is_ipv4(address) &&
	       (address->word[3] & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000);
}

/* True if NodePorts are served at this address of the node. */
static __always_inline bool serves_node_ports(const struct address *address,
					      const struct settings *set, bool from_node)
{
	if (is_loopback(address))
		return from_node && set->loopback_ports;
	return bpf_map_lookup_elem(&node_addresses, address);
}

/* Returns the frontend that `destination` is: an address and port of its own, or a NodePort. */
static __always_inline struct forward *find_forward(const struct target *destination,
						    const struct settings *set, bool from_node)
{
	struct forward *forward = bpf_map_lookup_elem(&frontends, destination);
	struct target port = *destination;

	if (forward || !serves_node_ports(&destination->address, set, from_node))
		return forward;
	port.address = (struct address){};
	if (is_ipv4(&destination->address))
		port.address.word[2] = bpf_htonl(0xffff);
	return bpf_map_lookup_elem(&frontends, &port);
}

/* Returns how the pool has this endpoint, 0 if it has not; port 0 stands for any port, of Pods of this
 * node.
 */
static __always_inline __u8 membership(const struct pool *pool, const struct address *address,
				       __be16 port)
{
	struct member member = {.pool = pool->number,
				.target = {.address = *address, .port = port}};
	__u8 *found = bpf_map_lookup_elem(&members, &member);

	return found ? *found : 0;
}

/* True if the pool has this endpoint for new calls. */
static __always_inline bool has_member(const struct pool *pool, const struct address *address,
				       __be16 port)
{
	return membership(pool, address, port) == CHOSEN;
}

/* Returns the endpoint that a number selects. The number is a packet's hash, or random. */
static __always_inline struct target *endpoint_at(const struct pool *pool,
						  const struct settings *set, __u32 number)
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

/* Session affinity: returns the client's last endpoint, as long as that serves and the client has
 * called within the time. Otherwise selects an endpoint by `number`, and remembers it.
 */
static __always_inline struct target *sticky_endpoint(const struct forward *forward,
						      const struct pool *pool,
						      const struct settings *set,
						      const struct address *source, __u32 number)
{
	struct client client = {.portal = forward->portal, .address = *source};
	struct sticky *had = bpf_map_lookup_elem(&clients, &client);
	struct sticky sticky = {.seen = bpf_ktime_get_ns()};
	struct target *endpoint;

	if (had && sticky.seen - had->seen < forward->affinity * SECOND &&
	    has_member(pool, &had->endpoint.address, had->endpoint.port)) {
		had->seen = sticky.seen;
		return &had->endpoint;
	}
	endpoint = endpoint_at(pool, set, number);
	if (endpoint) {
		sticky.endpoint = *endpoint;
		bpf_map_update_elem(&clients, &client, &sticky, BPF_ANY);
	}
	return endpoint;
}

/* Counts a new connection of the Service's port. */
static __always_inline void count_connection(const struct forward *forward)
{
	__u64 portal = forward->portal, none = 0,
	      *number = bpf_map_lookup_elem(&connections, &portal);

	if (!number) {
		bpf_map_update_elem(&connections, &portal, &none, BPF_NOEXIST);
		number = bpf_map_lookup_elem(&connections, &portal);
	}
	if (number)
		__sync_fetch_and_add(number, 1);
}

/* True if the source ranges allow `source`. */
static __always_inline bool admits(const struct forward *forward, const struct address *source)
{
	struct admitted key = {.bits = 160, .set = bpf_htonl(forward->ranges), .address = *source};

	return !forward->ranges || bpf_map_lookup_elem(&ranges, &key);
}
