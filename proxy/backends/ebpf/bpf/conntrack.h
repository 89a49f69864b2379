/* The kernel's connection tracking, by the functions that it offers to programs
 * (net/netfilter/nf_conntrack_bpf.c and nf_nat_bpf.c, Linux 6.1). A flow that a program adds is
 * translated, expires, collides and is listed like every other flow.
 */
#pragma once

#include "packet.h"

#include <bpf/bpf_core_read.h>

struct ip_ct_tcp {
	__u8 state;
} KERNEL;

union nf_conntrack_proto {
	struct ip_ct_tcp tcp;
} KERNEL;

struct nf_conn {
	unsigned long status;
	union nf_conntrack_proto proto;
} KERNEL;

struct nf_conn___init {
	struct nf_conn ct;
};

#define TIME_WAIT 7 /* enum tcp_conntrack; CLOSE follows it */

union nf_inet_addr {
	__u32 all[4];
};

enum nf_nat_manip_type { NF_NAT_MANIP_SRC, NF_NAT_MANIP_DST };

/* The size that every kernel accepts; newer kernels also accept a longer structure. */
struct bpf_ct_opts {
	__s32 netns_id;
	__s32 error;
	__u8 l4proto;
	__u8 dir;
	__u8 reserved[2];
};

/* The kernel lacks these if it has no conntrack or has not loaded the module. */
struct nf_conn *bpf_skb_ct_lookup(struct __sk_buff *skb, struct bpf_sock_tuple *tuple,
				  __u32 tuple_size, struct bpf_ct_opts *opts,
				  __u32 opts_size) __ksym __weak;
struct nf_conn___init *bpf_skb_ct_alloc(struct __sk_buff *skb, struct bpf_sock_tuple *tuple,
					__u32 tuple_size, struct bpf_ct_opts *opts,
					__u32 opts_size) __ksym __weak;
int bpf_ct_set_nat_info(struct nf_conn___init *flow, union nf_inet_addr *address, int port,
			enum nf_nat_manip_type manip) __ksym __weak;
struct nf_conn *bpf_ct_insert_entry(struct nf_conn___init *flow) __ksym __weak;
int bpf_ct_change_timeout(struct nf_conn *flow, __u32 ms) __ksym __weak;
void bpf_ct_release(struct nf_conn *flow) __ksym __weak;

static __always_inline void fill_tuple(const struct packet *packet, struct bpf_sock_tuple *tuple)
{
	const struct target *client = &packet->client, *destination = &packet->destination;

	if (is_ipv4(&destination->address)) {
		tuple->ipv4.saddr = client->address.word[3];
		tuple->ipv4.daddr = destination->address.word[3];
		tuple->ipv4.sport = client->port;
		tuple->ipv4.dport = destination->port;
		return;
	}
	__builtin_memcpy(tuple->ipv6.saddr, &client->address, sizeof(struct address));
	__builtin_memcpy(tuple->ipv6.daddr, &destination->address, sizeof(struct address));
	tuple->ipv6.sport = client->port;
	tuple->ipv6.dport = destination->port;
}

/* Returns the flow of a packet, NULL if it is not tracked. The caller has to release the flow. */
static __always_inline struct nf_conn *find_flow(struct __sk_buff *skb, const struct packet *packet)
{
	struct bpf_ct_opts opts = {.netns_id = -1, .l4proto = packet->destination.protocol};
	struct bpf_sock_tuple tuple = {};

	fill_tuple(packet, &tuple);
	if (is_ipv4(&packet->destination.address))
		return bpf_skb_ct_lookup(skb, &tuple, sizeof(tuple.ipv4), &opts, sizeof(opts));
	return bpf_skb_ct_lookup(skb, &tuple, sizeof(tuple.ipv6), &opts, sizeof(opts));
}

/* True if the packet reopens a connection that has ended. The kernel would remove the old flow. */
static __always_inline bool is_reopened(const struct packet *packet, struct nf_conn *flow)
{
	return packet->destination.protocol == IPPROTO_TCP && packet->begins &&
	       BPF_CORE_READ(flow, proto.tcp.state) >= TIME_WAIT;
}

/* True if the packet's flow is tracked. Removes a flow that has ended if the packet reopens it. */
VERIFIED_ONCE int is_tracked(struct __sk_buff *skb, const struct packet *packet)
{
	struct nf_conn *flow;
	bool is_over;

	if (!packet)
		return false;
	flow = find_flow(skb, packet);
	if (!flow)
		return false;
	is_over = is_reopened(packet, flow) && !bpf_ct_change_timeout(flow, 0);
	bpf_ct_release(flow);
	if (!is_over)
		return true;
	flow = find_flow(skb, packet); /* the lookup removes expired flows */
	if (flow)
		bpf_ct_release(flow);
	return !!flow;
}

static __always_inline union nf_inet_addr as_nat(const struct address *address)
{
	if (is_ipv4(address))
		return (union nf_inet_addr){{address->word[3]}};
	return (union nf_inet_addr){
	    {address->word[0], address->word[1], address->word[2], address->word[3]}};
}

/* Adds the packet's flow with its translation. False if the kernel's table is full, or has another
 * flow with the same addresses.
 */
static __always_inline bool add_flow(struct __sk_buff *skb, const struct packet *packet,
				     const struct target *endpoint, const struct address *source)
{
	struct bpf_ct_opts opts = {.netns_id = -1, .l4proto = packet->destination.protocol};
	union nf_inet_addr to = as_nat(&endpoint->address), from = as_nat(source);
	struct bpf_sock_tuple tuple = {};
	struct nf_conn___init *fresh;
	struct nf_conn *flow;

	fill_tuple(packet, &tuple);
	if (is_ipv4(&packet->destination.address))
		fresh = bpf_skb_ct_alloc(skb, &tuple, sizeof(tuple.ipv4), &opts, sizeof(opts));
	else
		fresh = bpf_skb_ct_alloc(skb, &tuple, sizeof(tuple.ipv6), &opts, sizeof(opts));
	if (!fresh)
		return false;
	/* Both calls always succeed for a flow that is not inserted yet. The source is set last: the
	 * kernel changes its port if another flow to the endpoint has that port.
	 */
	bpf_ct_set_nat_info(fresh, &to, bpf_ntohs(endpoint->port), NF_NAT_MANIP_DST);
	bpf_ct_set_nat_info(fresh, &from, 0, NF_NAT_MANIP_SRC);
	flow = bpf_ct_insert_entry(fresh);
	if (!flow)
		return false;
	bpf_ct_release(flow);
	return true;
}
